"""A server that answers like MLflow about one model version, or as a test wants."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from services.gitops.tests.conftest import DIGEST

TAGS = {"gate": "passed", "digest": DIGEST, "release": "v1.0.0"}
METRICS = {"accuracy": 0.973684210526, "log_loss": 0.11, "cv_accuracy": 0.9, "f1/setosa": 1.0}
VERSION = {"name": "iris-classifier", "version": "1", "status": "READY", "run_id": "r1"}
ANSWERS = {
    "model-versions/get": {"model_version": {**VERSION, "tags": [{"key": k, "value": v} for k, v in TAGS.items()]}},
    "model-versions/get-download-uri": {"artifact_uri": "s3://mlflow/1/models/m-1"},
    "runs/get": {"run": {"data": {"metrics": [{"key": key, "value": value} for key, value in METRICS.items()]}}},
}
ANSWERS["registered-models/alias"] = ANSWERS["model-versions/get"]


@contextmanager
def answering(answer: Callable[[str, int], tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve answers by path and number of earlier requests inside the block; yield the address and the paths."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, len(asked))
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_mlflow(path: str, _before: int) -> tuple[int, bytes]:
    """Answer about version 1, which passed its gate and is the candidate."""
    return 200, json.dumps(ANSWERS[path.removeprefix("/api/2.0/mlflow/").partition("?")[0]]).encode()


def as_mlflow_of_many(path: str, _before: int) -> tuple[int, bytes]:
    """Answer about any version that `promotion_setup.release` pins; 9 is the candidate, 99 failed its gate."""
    endpoint, _, query = path.removeprefix("/api/2.0/mlflow/").partition("?")
    asked = parse_qs(query)
    number = asked["version"][0] if "version" in asked else "9"
    if endpoint == "model-versions/get-download-uri":
        return 200, json.dumps({"artifact_uri": f"s3://mlflow/1/models/m-{number}/artifacts"}).encode()
    if endpoint == "runs/get":
        return 200, json.dumps(ANSWERS[endpoint]).encode()
    tags = {"gate": "failed" if number == "99" else "passed", "digest": DIGEST}
    version = {**VERSION, "version": number, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    return 200, json.dumps({"model_version": version}).encode()
