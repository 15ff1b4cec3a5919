"""Outages of MLflow and S3 never stop predictions, and a process that starts during one is ready after it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.processes import NOBODY, Server
from embedded.servers import mlflow_server
from services.serving.tests.bundles import write_bundle
from tests.integration.serving_fixtures import Model, predict, served, version_served, wait_for
from tests.integration.stores import BUCKET, S3Store
from tests.support.mlflow_tables import with_tables


def test_mlflow_down_at_start_and_later(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mlflow = mlflow_server(with_tables(tmp_path_factory, tmp_path / "mlflow"))
    settings = {"MLFLOW_TRACKING_URI": mlflow.url, "REGISTRY_TIMEOUT_SECONDS": "2", "RETRY_MAX_SECONDS": "0.5"}
    with served(tmp_path, {**settings, "MODEL_NAME": "late", "MODEL_POLL_SECONDS": "0.1"}, ready=False) as (_, client):
        wait_for(lambda: "MLflow does not answer" in client.get("/health").json()["problem"])
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        assert predict(client).status_code == 503
        with mlflow:
            wait_for(lambda: "no version with alias 'production'" in client.get("/health").json()["problem"])
            model = Model(mlflow.url, tmp_path, name="late")
            first = model.register(alias="production")
            other = model.register(strength=0.1)
            unseen = model.register(strength=0.2)
            wait_for(lambda: client.get("/health/ready").status_code == 200)
            assert version_served(client) == first.number
            assert predict(client, model_version=other.number).status_code == 200
        wait_for(lambda: "MLflow does not answer" in client.get("/health").json()["problem"])
        assert version_served(client) == first.number
        assert predict(client, model_version=other.number).json()["model_version"] == other.number
        away = predict(client, model_version=unseen.number)
        assert away.status_code == 503
        assert int(away.headers["retry-after"]) >= 1
        assert client.get("/health/ready").status_code == 200
        assert 'serving_registry_errors_total{operation="model-versions/get"} 1.0' in client.get("/metrics").text


@pytest.fixture(scope="module")
def on_s3(s3: S3Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a pod that is pinned to a model in S3, and cannot reach MLflow."""
    folder = tmp_path_factory.mktemp("pinned")
    digest = write_bundle(folder)
    for path in folder.iterdir():
        s3.client(s3.writer).upload_file(str(path), BUCKET, f"pinned/model/{path.name}")
    return {
        "MLFLOW_TRACKING_URI": NOBODY,
        "MODEL_VERSION": "3",
        "MODEL_DIGEST": digest,
        "MODEL_URI": f"s3://{BUCKET}/pinned/model",
        "S3_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": s3.reader.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key,
        "RETRY_MAX_SECONDS": "0.5",
    }


def test_a_pin_with_address_and_digest_needs_only_s3(on_s3: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, on_s3) as (_, client):
        assert version_served(client) == "3"
        assert client.get("/model/info").json()["digest"] == on_s3["MODEL_DIGEST"]


def test_a_downloaded_model_needs_neither_mlflow_nor_s3(on_s3: dict[str, str], tmp_path: Path) -> None:
    kept = {**on_s3, "MODEL_DIR": str(tmp_path / "models")}
    with served(tmp_path, kept):
        pass
    with served(tmp_path, {**kept, "S3_ENDPOINT_URL": NOBODY}) as (_, client):
        assert version_served(client) == "3"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"S3_ENDPOINT_URL": NOBODY}, "S3 does not answer"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "S3 refuses"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong", "S3_SECRET_NAME": "s3-serving"}, "its keys come from Secret s3-serving"),
        ({"MODEL_URI": f"s3://{BUCKET}/nowhere"}, "there are no files"),
        ({"MODEL_DIGEST": "sha256:" + "0" * 64}, "is expected"),
    ],
)
def test_problems_of_s3_are_reported(
    on_s3: dict[str, str], tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    with served(tmp_path, on_s3 | changes, ready=False) as (_, client):
        wait_for(lambda: problem in client.get("/health").json()["problem"])
        assert client.get("/health/ready").status_code == 503


def test_a_stage_in_s3_is_read_directly(
    mlflow_on_s3: Server, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    model = Model(mlflow_on_s3.url, tmp_path)
    first = model.register(alias="production")
    assert first.uri.startswith("s3://")
    reader = {"AWS_ACCESS_KEY_ID": s3.reader.access_key, "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key}
    with served(tmp_path, model.settings(S3_ENDPOINT_URL=s3.url, **reader)) as (_, client):
        assert version_served(client) == first.number


def test_any_key_and_more_than_a_page_of_them_are_read_from_s3(s3: S3Store, tmp_path: Path) -> None:
    names = ["a b", "plus+sign", "ünïcode", "per%cent", "quote'(1)", "deep/er/file", "tilde~", "a&b=c"]
    client = s3.client(s3.writer)
    for name in [*names, *(f"many/{index}" for index in range(195))]:
        client.put_object(Bucket=BUCKET, Key=f"odd names/{name}", Body=name.encode())
    client.put_object(Bucket=BUCKET, Key="odd names, too/other", Body=b"not asked for")
    script = """
import asyncio, sys
import os
import subprocess
import sys
from pathlib import Path
from serving.artifacts.base import MAX_FILES, download
from serving.artifacts.s3 import S3Store
assert MAX_FILES == 200
async def main():
    store = S3Store(sys.argv[1], "us-east-1")
    found = sorted([file.path async for file in store.files("s3://mlflow/odd names/")])
    for path in found:
        target = Path(sys.argv[2], path)
        target.parent.mkdir(parents=True, exist_ok=True)
        await store.fetch("s3://mlflow/odd names", path, target, 1000)
    await store.aclose()
asyncio.run(main())
"""
    environment = {**os.environ, **s3.environment(s3.reader)}
    subprocess.run([sys.executable, "-c", script, s3.url, str(tmp_path)], env=environment, check=True, timeout=60)
    for name in names:
        assert (tmp_path / name).read_text() == name
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(names) + 195
