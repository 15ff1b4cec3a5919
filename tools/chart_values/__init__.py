"""Writes what several charts say alike, and what serving says of itself: `python -m tools.chart_values`.

- `charts/common/pods.yaml` goes into each chart's values.yaml and values.schema.json: what values may add to pods.
- serving's `Settings` go into charts/model-serving: values.yaml, values.schema.json and the ConfigMap's template.
"""
