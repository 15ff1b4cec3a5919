"""A registry can only make a serving process serve versions that passed the gate, from allowed places."""

import json
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedded.processes import Server
from services.serving.tests.bundles import CLASSES, COLUMNS
from tests.integration.front import Answer, Asked, front, own_certificate, swollen
from tests.integration.serving_fixtures import Model, Version, predict, served, version_served, wait_for
from tests.integration.stores import BUCKET, S3Store


@pytest.fixture
def model(mlflow_proxied: Server, tmp_path: Path) -> Model:
    return Model(mlflow_proxied.url, tmp_path)


def problem(client: httpx.Client) -> str:
    found: str = client.get("/health").json()["problem"]
    return found


def test_an_alias_is_found_as_it_is_written(model: Model, tmp_path: Path) -> None:
    first, second = model.register(alias="Champion"), model.register(strength=0.1)
    with served(tmp_path, model.settings(MODEL_STAGE="Champion")) as (_, client):
        assert version_served(client) == first.number
        assert client.get("/model/info").json()["stage"] == "Champion"
        model.move("Champion", second.number)
        wait_for(lambda: version_served(client) == second.number)
        assert predict(client, model_version="Champion").json()["model_version"] == second.number


def test_numbers_that_start_again_are_detected(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    with served(tmp_path, model.settings()) as (_, client):
        refused = anew(model, gate="failed")
        assert refused.number == first.number == "1"
        wait_for(lambda: "another version 1" in problem(client) and "has not passed the gate" in problem(client))
        assert client.get("/model/info").json()["digest"] == first.digest
        second = anew(model, digest="")
        assert second.number == "1"
        wait_for(lambda: client.get("/model/info").json()["digest"] == second.digest)
        assert predict(client, model_version="1").status_code == 200
        wait_for(lambda: not problem(client))


def anew(model: Model, **tags: str) -> Version:
    """Delete a registered model, and register another first version."""
    model.client.delete_registered_model(model.name)
    model.client.create_registered_model(model.name)
    return model.register(alias="production", strength=0.1, tags=tags)


def test_an_invalid_digest_is_refused(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    precious = tmp_path / "precious"
    precious.mkdir()
    with served(tmp_path, model.settings()) as (_, client):
        hostile = model.register(strength=0.1, tags={"digest": "../precious"})
        model.move("production", hostile.number)
        wait_for(lambda: "'../precious', is not valid" in problem(client))
        assert version_served(client) == first.number
        assert precious.is_dir()


@pytest.mark.parametrize("allowed", [False, True])
def test_local_folders_in_the_registry_are_refused(model: Model, tmp_path: Path, allowed: bool) -> None:
    version = model.register(alias="production")

    def rule(asked: Asked) -> Answer | None:
        if "get-download-uri" not in asked.path:
            return None
        return Answer(200, {}, json.dumps({"artifact_uri": version.folder.as_uri()}).encode())

    target = model.settings()["MLFLOW_TRACKING_URI"]
    with front(target, rule) as url:
        settings = model.settings(MLFLOW_TRACKING_URI=url, **({"REGISTRY_FOLDERS": "allow"} if allowed else {}))
        with served(tmp_path, settings, ready=allowed) as (_, client):
            if allowed:
                assert version_served(client) == version.number
            else:
                wait_for(lambda: "REGISTRY_FOLDERS=allow" in problem(client))
                assert client.get("/health/ready").status_code == 503


def test_a_compressed_answer_that_expands_too_much_is_refused(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    bomb, armed = swollen(500), False
    assert len(bomb.body) < 10**6
    with (
        front(model.settings()["MLFLOW_TRACKING_URI"], lambda _: bomb if armed else None) as url,
        served(tmp_path, model.settings(MLFLOW_TRACKING_URI=url)) as (server, client),
    ):
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        armed = True
        wait_for(lambda: "its answer is longer than 4194304 bytes" in problem(client))
        assert process.memory_info().rss - before < 40e6
        assert version_served(client) == first.number
        armed = False
        wait_for(lambda: not problem(client))


def test_only_redirects_on_the_same_host_are_followed(model: Model, tmp_path: Path) -> None:
    version = model.register(alias="production")
    asked_elsewhere: list[Asked] = []

    def elsewhere(asked: Asked) -> Answer:
        asked_elsewhere.append(asked)
        return Answer(200)

    target = model.settings()["MLFLOW_TRACKING_URI"]

    def moved(asked: Asked) -> Answer | None:
        return Answer(308, {"location": asked.path.removeprefix("/old")}) if asked.path.startswith("/old") else None

    with front(target, moved) as url, served(tmp_path, model.settings(MLFLOW_TRACKING_URI=f"{url}/old")) as (_, client):
        assert version_served(client) == version.number
    with front(target, elsewhere) as other, front(target, lambda a: Answer(308, {"location": other + a.path})) as url:
        settings = model.settings(MLFLOW_TRACKING_URI=url, MLFLOW_TRACKING_TOKEN="secret")
        with served(tmp_path, settings, ready=False) as (_, client):
            wait_for(lambda: "it redirects elsewhere (status 308)" in problem(client))
        assert asked_elsewhere == []


def test_a_token_opens_mlflow(model: Model, tmp_path: Path) -> None:
    version = model.register(alias="production")

    def guarded(asked: Asked) -> Answer | None:
        return None if asked.headers.get("authorization") == "Bearer our-token" else Answer(401)

    with front(model.settings()["MLFLOW_TRACKING_URI"], guarded) as url:
        settings = model.settings(MLFLOW_TRACKING_URI=url)
        with served(tmp_path, settings, ready=False) as (_, client):
            wait_for(lambda: "MLFLOW_TRACKING_TOKEN" in problem(client))
        with served(tmp_path, {**settings, "MLFLOW_TRACKING_TOKEN": "our-token"}) as (_, client):
            assert version_served(client) == version.number


def test_one_file_of_authorities_is_for_mlflow_and_s3(
    mlflow_on_s3: Server, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    model, certificate = Model(mlflow_on_s3.url, tmp_path), own_certificate(tmp_path)
    version = model.register(alias="production")
    assert version.uri.startswith(f"s3://{BUCKET}/")
    with (
        front(mlflow_on_s3.url, certificate=certificate) as registry,
        front(s3.url, certificate=certificate) as store,
        front(mlflow_on_s3.url, lambda asked: Answer(308, {"location": registry + asked.path})) as plain,
    ):
        settings = model.settings(MLFLOW_TRACKING_URI=registry, S3_ENDPOINT_URL=store)
        with served(tmp_path, settings, ready=False) as (_, client):
            wait_for(lambda: "certificate is not trusted" in problem(client) and "SSL_CERT_FILE" in problem(client))
        trusting = {**settings, "SSL_CERT_FILE": str(certificate)}
        for url in (registry, plain):
            with served(tmp_path, {**trusting, "MLFLOW_TRACKING_URI": url}) as (_, client):
                assert version_served(client) == version.number
        # Now only the store's certificate is not trusted.
        with served(tmp_path, {**settings, "MLFLOW_TRACKING_URI": mlflow_on_s3.url}, ready=False) as (_, client):
            wait_for(lambda: "S3 does not answer (its certificate is not trusted" in problem(client))


def test_a_model_that_was_fitted_on_a_table_gives_no_warning(model: Model, tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    table = pd.DataFrame(rows, columns=COLUMNS)
    steps = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    estimator = steps.fit(table, [CLASSES[label] for label in labels])
    version = model.register(alias="production", estimator=estimator, onnx=False)
    with served(tmp_path, model.settings()) as (server, client):
        assert client.get("/model/info").json()["runtime"] == "sklearn"
        for _ in range(3):
            assert version_served(client) == version.number
    assert "Warning" not in server.log.read_text()
