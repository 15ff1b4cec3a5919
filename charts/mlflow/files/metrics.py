"""Gives Prometheus what the server counts, at a port of its own: the server's own page asks for an administrator.

It answers 503 while the server beside it does not answer, so that `up` says how the server is.
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
    """Answers GET /metrics."""

    def do_GET(self):
        """Collect what all processes of the server have counted."""
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
        """Say nothing: it is asked every few seconds."""


Path(FOLDER).mkdir(parents=True, exist_ok=True)
ThreadingHTTPServer(("", int(os.environ["METRICS_PORT"])), Metrics).serve_forever()
