"""Generate the Grafana dashboards of charts/observability: `python -m tools.dashboards`."""
