"""Serve the metrics of the MLflow server at a separate port: the server's own page requires an administrator.

It answers 503 while the server does not answer, so `up` in Prometheus shows the state of the server.
"""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = os.environ["MLFLOW_EXPOSE_PROMETHEUS"]
HEALTH = os.environ["HEALTH_URL"]


class Metrics(BaseHTTPRequestHandler):
    """Handler of GET /metrics."""

    def do_GET(self):
        """Answer with the sum of what all processes of the server counted."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        try:
            urllib.request.urlopen(HEALTH, timeout=5).close()  # noqa: S310  the chart's own address
        except OSError:
            self.send_error(503, "MLflow does not answer")
            return
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=FOLDER)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.end_headers()
        self.wfile.write(generate_latest(registry))

    def log_message(self, *_):
        """Log nothing: Prometheus sends a request every few seconds."""


Path(FOLDER).mkdir(parents=True, exist_ok=True)
ThreadingHTTPServer(("", int(os.environ["METRICS_PORT"])), Metrics).serve_forever()
