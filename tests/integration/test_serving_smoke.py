"""The smoke test passes only on the pinned version with the pinned digest, and only then moves the alias."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from embedded.processes import NOBODY, Server, program
from tests.integration.serving_fixtures import Model, Version, served


@pytest.fixture(scope="module")
def model(mlflow_proxied: Server, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(mlflow_proxied.url, tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="module")
def version(model: Model) -> Version:
    return model.register()


@pytest.fixture(scope="module")
def smoke(model: Model, version: Version, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A pinned deployment, and the settings of its smoke test."""
    settings = model.settings(MODEL_VERSION=version.number, MODEL_DIGEST=version.digest)
    with served(tmp_path_factory.mktemp("served"), settings) as (server, _):
        yield {**settings, "SMOKE_URL": server.url, "SMOKE_SECONDS": "1"}


def run(settings: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings, **changes}
    return subprocess.run(
        [program("serving"), "smoke"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def aliased(model: Model, alias: str) -> str | None:
    try:
        return str(model.client.get_model_version_by_alias(model.name, alias).version)
    except MlflowException:
        return None


def test_the_pinned_version_passes_and_the_alias_moves(model: Model, version: Version, smoke: dict[str, str]) -> None:
    assert aliased(model, "staging") is None
    done = run(smoke, SMOKE_ALIAS="staging", SMOKE_SECONDS="20")
    assert done.returncode == 0, done.stderr
    assert version.digest in done.stdout
    assert aliased(model, "staging") == version.number
    assert run(smoke, SMOKE_ALIAS="staging", SMOKE_SECONDS="20").returncode == 0


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"MODEL_VERSION": "99"}, "the version is '1', but '99' is expected"),
        ({"MODEL_DIGEST": "sha256:" + "0" * 64}, "the digest is 'sha256-v2:"),
        ({"MODEL_NAME": "another"}, "the model is "),
        ({"SMOKE_URL": NOBODY}, "GET /model/info gets no answer (ConnectError)"),
    ],
)
def test_a_difference_fails_with_a_reason_and_the_alias_stays(
    model: Model, smoke: dict[str, str], changes: dict[str, str], difference: str
) -> None:
    done = run(smoke, **{"SMOKE_ALIAS": "failed", **changes})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert difference in done.stderr
    assert aliased(model, "failed") is None


def test_without_a_pin_any_prediction_passes_and_the_alias_stays(model: Model, smoke: dict[str, str]) -> None:
    done = run(smoke, MODEL_VERSION="", MODEL_DIGEST="", SMOKE_ALIAS="other", SMOKE_SECONDS="20")
    assert done.returncode == 0, done.stderr
    assert "stays" in done.stdout
    assert aliased(model, "other") is None


def test_a_registry_that_is_down_fails_it(smoke: dict[str, str]) -> None:
    done = run(
        smoke, SMOKE_SECONDS="5", SMOKE_ALIAS="staging", MLFLOW_TRACKING_URI=NOBODY, REGISTRY_TIMEOUT_SECONDS="0.5"
    )
    assert done.returncode == 1
    assert "the alias 'staging' cannot be moved: MLflow does not answer" in done.stderr


def test_the_key_is_sent_to_a_service_that_needs_one(model: Model, version: Version, tmp_path: Path) -> None:
    key = "smoke-key-0123456789"
    settings = model.settings(MODEL_VERSION=version.number, API_KEYS=f"smoke:{key}")
    with served(tmp_path, settings) as (server, _):
        asking = {**settings, "SMOKE_URL": server.url, "SMOKE_SECONDS": "1"}
        refused = run(asking)
        assert refused.returncode == 1
        assert "401" in refused.stderr
        assert run(asking, SMOKE_API_KEY=key, SMOKE_SECONDS="20").returncode == 0
