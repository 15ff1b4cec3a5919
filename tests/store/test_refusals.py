"""What is refused before MinIO is counted for Prometheus, and nothing else is; MinIO itself is not needed for that."""

import re
from pathlib import Path

import httpx
import pytest

from embedded.processes import NOBODYS_PORT
from tests.support import guard

pytestmark = pytest.mark.skipif(guard.PROGRAM is None, reason=guard.WITHOUT)


def denied(metrics: str) -> float:
    """How many requests the door to S3 has refused, as the exporter says it."""
    answer = httpx.get(f"{metrics}/guard/metrics", params={"scope": "frontend"}, timeout=10)
    assert answer.status_code == 200
    found = re.search(r'^haproxy_frontend_requests_denied_total{proxy="s3"} (\S+)$', answer.text, re.MULTILINE)
    assert found, answer.text
    return float(found[1])


def test_an_upload_that_is_refused_is_counted(tmp_path: Path) -> None:
    with guard.running(tmp_path, NOBODYS_PORT) as (url, metrics):
        # Nobody is behind it: what passes is a 503.
        assert httpx.put(f"{url}/mlflow/key", content=b"x", timeout=10).status_code == 503
        assert denied(metrics) == 0
        headers = {"X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
        for number in (1, 2):
            assert httpx.put(f"{url}/mlflow/key", content=b"x", headers=headers, timeout=10).status_code == 403
            assert denied(metrics) == number


def test_the_port_of_the_metrics_shows_nothing_else(tmp_path: Path) -> None:
    with guard.running(tmp_path, NOBODYS_PORT) as (_, metrics):
        for path in ("/", "/mlflow/key", "/guard/metrics/", "/guard", "/stats"):
            assert httpx.get(f"{metrics}{path}", timeout=10).status_code == 404
        assert httpx.post(f"{metrics}/guard/metrics", timeout=10).status_code == 404
