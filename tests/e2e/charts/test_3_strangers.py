"""A pod that reaches the store and knows the ids of keys, but not their secrets, can neither write nor read.

That includes the two known attacks on MinIO.
"""

import base64
from urllib.parse import urlsplit

import pytest

from tests.e2e.charts.stack import BUCKET, Stack
from tests.e2e.pods import Script
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(240)


def test_with_a_known_key_id_and_no_secret_nothing_is_written_or_read(stack: Stack, report: Report) -> None:
    objects = stack.objects()
    model = f"/{BUCKET}/{urlsplit(stack.registry().version('1').uri).path.strip('/')}/model.onnx"
    backups = "/backups/postgres/forged"
    address = urlsplit(stack.s3_url)
    question = {
        "host": address.hostname,
        "port": address.port,
        "ids": {user: _key_id(stack, user) for user in ("mlflow", "serving", "backup", "root")},
        "write": {"mlflow": model, "serving": model, "backup": backups, "root": model},
        "read": {"mlflow": model, "serving": model, "backup": backups, "root": model},
    }
    let_in = {"app.kubernetes.io/name": "training"}

    statuses = stack.runner.ask(Script("knows-ids", stack.platform, "forge.py", question, let_in))

    table = [("whose id, and how", "answer"), *sorted(statuses.items())]
    report.table("With a known key id and no secret, nothing is written or read", table)
    assert {status for status in statuses.values() if status not in {400, 403}} == set()
    assert stack.objects() == objects


def _key_id(stack: Stack, user: str) -> str:
    data = stack.kube.get(stack.platform, "secret", f"s3-{user}")["data"]
    return base64.b64decode(data["AWS_ACCESS_KEY_ID"]).decode()
