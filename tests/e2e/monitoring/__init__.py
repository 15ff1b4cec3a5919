"""The pipeline with a real Prometheus and a real Alertmanager."""
