"""The pipeline under a real Prometheus and a real Alertmanager."""
