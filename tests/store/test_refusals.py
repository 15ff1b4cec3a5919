"""HAProxy in front of MinIO counts refused uploads for Prometheus, and counts nothing else. MinIO need not run."""

import re
from pathlib import Path

import httpx
import pytest

from embedded.processes import NOBODYS_PORT
from tests.support import guard

pytestmark = pytest.mark.skipif(guard.PROGRAM is None, reason=guard.WITHOUT)


def denied(metrics: str) -> float:
    """Return the number of requests that HAProxy refused at the S3 port, from its exporter."""
    answer = httpx.get(f"{metrics}/guard/metrics", params={"scope": "frontend"}, timeout=10)
    assert answer.status_code == 200
    found = re.search(r'^haproxy_frontend_requests_denied_total{proxy="s3"} (\S+)$', answer.text, re.MULTILINE)
    assert found, answer.text
    return float(found[1])


def test_an_upload_that_is_refused_is_counted(tmp_path: Path) -> None:
    with guard.running(tmp_path, NOBODYS_PORT) as (url, metrics):
        # No server runs behind it, so a request that passes gets 503.
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
