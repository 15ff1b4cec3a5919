"""The model registry, with a real MLflow server and a stand-in: how a version is pinned, and what is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.servers import mlflow_server
from gitops.errors import BadInputError, OutageError
from gitops.pins.registry import MlflowRegistry
from gitops.pins.release import Model
from services.gitops.tests.conftest import DIGEST
from services.gitops.tests.mlflow_answers import METRICS, TAGS, answering, as_mlflow
from tests.support.mlflow_tables import with_tables


@pytest.mark.slow
def test_a_real_registry_returns_pins_only_for_versions_that_passed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """This is a single test, so that MLflow starts only once. Its clients access the artifact store directly."""
    with (
        mlflow_server(with_tables(tmp_path_factory, tmp_path), artifacts="s3://mlflow", proxied=False) as server,
        httpx.Client(base_url=f"{server.url}/api/2.0/mlflow", trust_env=False, timeout=30) as client,
    ):
        register(client, "registered-models/create", name="iris-classifier")
        # The result of a division by zero.
        register_version(client, TAGS, {**METRICS, "r2": "NaN"})
        register_version(client, {"digest": DIGEST, "gate": "failed"}, {})
        register_version(client, {"gate": "passed"}, {})
        register_version(client, TAGS, {}, source="gs://elsewhere/models/m-4")
        register(client, "registered-models/alias", name="iris-classifier", alias="candidate", version="1")

        registry = MlflowRegistry(server.url)
        found = registry.find("iris-classifier@candidate")
        assert found == registry.find("iris-classifier/1")
        assert found.model == Model(
            name="iris-classifier", version="1", release=TAGS["release"], digest=DIGEST, uri="s3://mlflow/1/models/m-1"
        )
        assert found.metrics == {"accuracy": 0.973684, "log_loss": 0.11}
        refused = {
            "iris-classifier/2": "did not pass its gate",
            "iris-classifier/3": "has no content digest",
            "iris-classifier/4": "--no-serve-artifacts",
            "iris-classifier/99": "Model Version .* not found",
            "iris-classifier@nobody": "alias nobody not found",
            "roses/1": "Model Version .* not found",
        }
        for reference, why in refused.items():
            with pytest.raises(BadInputError, match=why):
                registry.find(reference)


def register_version(
    client: httpx.Client,
    tags: dict[str, str],
    metrics: Mapping[str, float | str],
    source: str = "s3://mlflow/1/models/m-1",
) -> None:
    run = register(client, "runs/create", experiment_id="0")["run"]["info"]["run_id"]
    for key, value in metrics.items():
        register(client, "runs/log-metric", run_id=run, key=key, value=value, timestamp=1)
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    register(client, "model-versions/create", name="iris-classifier", source=source, run_id=run, tags=listed)


def register(client: httpx.Client, endpoint: str, **body: object) -> dict[str, Any]:
    answer = client.post(endpoint, json=body)
    assert answer.is_success, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_busy_registry_is_retried() -> None:
    with answering(lambda path, before: as_mlflow(path, 0) if before else (503, b"starting")) as (url, asked):
        assert MlflowRegistry(url, pause=lambda _: None).find("iris-classifier/1").model.version == "1"
    assert len(asked) == 4


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_metrics_that_are_not_finite_are_left_out(value: str) -> None:
    """MLflow writes it as a string, because JSON has no such number."""
    listed = [{"key": "accuracy", "value": 0.5}, {"key": "r2", "value": value}]
    run = json.dumps({"run": {"data": {"metrics": listed}}}).encode()
    with answering(lambda path, before: (200, run) if "runs/get" in path else as_mlflow(path, before)) as (url, _):
        assert MlflowRegistry(url).find("iris-classifier/1").metrics == {"accuracy": 0.5}


def test_retries_end_with_the_address_of_the_registry() -> None:
    with (
        answering(lambda *_: (503, b"")) as (url, asked),
        pytest.raises(OutageError, match=f"{url} answers 503, 4 times"),
    ):
        MlflowRegistry(url, pause=lambda _: None).find("iris-classifier/7")
    assert len(asked) == 4


def test_without_a_password_the_error_names_its_variables() -> None:
    with (
        answering(lambda *_: (401, b"You are not authenticated.")) as (url, _),
        pytest.raises(BadInputError, match="MLFLOW_TRACKING_PASSWORD"),
    ):
        MlflowRegistry(url).find("iris-classifier/7")


def test_the_error_names_a_user_that_the_registry_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "Ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-of-hers")
    with (
        answering(lambda *_: (403, b"Permission denied")) as (url, _),
        pytest.raises(BadInputError, match=r"Permission denied\. The user Ada may not do that") as refused,
    ):
        MlflowRegistry(url).find("iris-classifier/7")
    assert "s3cret" not in str(refused.value)


def test_no_error_shows_the_password_of_an_address() -> None:
    """Everybody can read the log of a workflow."""
    with (
        answering(lambda *_: (503, b"")) as (url, _),
        pytest.raises(OutageError, match=f"{url} answers 503") as refused,
    ):
        MlflowRegistry(url.replace("//", "//ada:s3cret@"), pause=lambda _: None).find("iris-classifier/7")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{}", b'{"model_version": 7}'])
def test_a_server_that_is_not_mlflow_is_reported(body: bytes) -> None:
    with answering(lambda *_: (200, body)) as (url, _), pytest.raises(OutageError, match="is not MLflow"):
        MlflowRegistry(url).find("iris-classifier/7")
