"""Writes what other files already say: `python -m tools.derived`.

- docs/alerts.md gets the tables of objectives and alerts, from the rules and thresholds of charts/observability.
- services/serving/README.md gets the tables of settings, from serving's `Settings`.
- services/gitops/README.md gets the help of every command.
- The JSON schemas of platform.yaml and training.yaml, for editors.
- apps/forges.yaml, from what gitops knows of each kind of forge: charts cannot read Python.
"""
