"""A serving process follows its alias without a failed request, and serves only versions that passed the gate."""

from pathlib import Path

import httpx
import pytest

from embedded.processes import Server
from tests.integration.serving_fixtures import Callers, Model, predict, served, version_served, wait_for


@pytest.fixture
def model(mlflow_proxied: Server, tmp_path: Path) -> Model:
    return Model(mlflow_proxied.url, tmp_path)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_a_moved_alias_is_followed_without_a_failed_request(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    second = model.register(strength=0.1)
    with served(tmp_path, model.settings()) as (server, client):
        assert version_served(client) == first.number
        with Callers(server.url) as callers:
            for wanted in (second.number, first.number, second.number):
                model.move("production", wanted)
                wait_for(lambda wanted=wanted: callers.versions[-1:] == [wanted])  # type: ignore[misc]
        assert callers.failures == []
        assert set(callers.versions) == {first.number, second.number}
        info = client.get("/model/info").json()
        assert (info["mode"], info["stage"], info["digest"]) == ("stage", "production", second.digest)
        assert info["loaded_versions"] == [first.number, second.number]
        assert metric(client, "serving_model_loads_total") == 2


def test_versions_by_number_alias_and_release(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production", tags={"release": "v1.0.0"})
    second = model.register(alias="candidate", strength=0.1, tags={"release": "v1.1.0"})
    with served(tmp_path, model.settings()) as (_, client):
        for name in (second.number, "candidate", "v1.1.0"):
            answer = predict(client, model_version=name)
            assert (answer.json()["model_version"], answer.headers["x-model-version"]) == ("v1.1.0", second.number)
        for name in ("latest", "production", "Production", first.number, "v1.0.0"):
            answer = predict(client, model_version=name)
            assert (answer.json()["model_version"], answer.headers["x-model-version"]) == ("v1.0.0", first.number)
        assert metric(client, "serving_model_loads_total") == 2
        for name in ("99", "nobody", "v9.9.9"):
            response = predict(client, model_version=name)
            assert response.status_code == 404
            assert "no version" in response.json()["detail"]


def test_versions_that_did_not_pass_the_gate_are_not_served(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    failed = model.register(tags={"gate": "failed"})
    with served(tmp_path, model.settings()) as (_, client):
        response = predict(client, model_version=failed.number)
        assert response.status_code == 404
        assert "has not passed the gate" in response.json()["detail"]
        model.move("production", failed.number)
        wait_for(lambda: "has not passed the gate" in client.get("/health").json()["problem"])
        assert version_served(client) == first.number


def test_files_that_do_not_match_their_digest_are_refused_and_the_old_version_stays(
    model: Model, tmp_path: Path
) -> None:
    first = model.register(alias="production")
    forged = model.register(tags={"digest": "sha256:" + "0" * 64})
    with served(tmp_path, model.settings()) as (_, client):
        model.move("production", forged.number)
        wait_for(lambda: "is expected" in client.get("/health").json()["problem"])
        assert version_served(client) == first.number
        assert client.get("/health/ready").status_code == 200
        assert metric(client, "serving_model_load_failures_total") >= 1
        response = predict(client, model_version=forged.number)
        assert response.status_code == 503
        assert "digest" in response.json()["detail"]
        model.move("production", first.number)
        wait_for(lambda: client.get("/health").json()["problem"] == "")


def test_an_artifact_corrupted_in_the_store_is_refused(model: Model, mlflow_proxied: Server, tmp_path: Path) -> None:
    first = model.register(alias="production")
    second = model.register(strength=0.1)
    path = second.uri.removeprefix("mlflow-artifacts:/")
    address = f"{mlflow_proxied.url}/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx"
    content = bytearray((second.folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    httpx.put(address, content=bytes(content)).raise_for_status()
    with served(tmp_path, model.settings()) as (_, client):
        model.move("production", second.number)
        wait_for(lambda: second.digest in client.get("/health").json()["problem"])
        assert version_served(client) == first.number


def test_a_pickle_is_refused_with_a_reason_until_a_setting_trusts_it(model: Model, tmp_path: Path) -> None:
    pickled = model.register(alias="production", onnx=False, saved_as="pickle")
    with served(tmp_path, model.settings(), ready=False) as (_, client):
        wait_for(lambda: "PICKLE_MODELS=trust-and-run" in client.get("/health").json()["problem"])
        assert predict(client).status_code == 503
    with served(tmp_path, model.settings(PICKLE_MODELS="trust-and-run")) as (_, client):
        assert version_served(client) == pickled.number
        assert client.get("/model/info").json()["runtime"] == "sklearn"


def test_an_alias_that_does_not_exist_yet_is_waited_for(model: Model, tmp_path: Path) -> None:
    with served(tmp_path, model.settings(), ready=False) as (_, client):
        wait_for(lambda: "no version with alias 'production'" in client.get("/health").json()["problem"])
        assert client.get("/health/ready").status_code == 503
        first = model.register(alias="production")
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert version_served(client) == first.number


def test_a_pin_is_checked_against_the_registry_and_never_moves(model: Model, tmp_path: Path) -> None:
    first = model.register(alias="production")
    second = model.register(strength=0.1)
    pin = {"MODEL_VERSION": first.number, "MODEL_DIGEST": first.digest}
    with served(tmp_path, model.settings(**pin)) as (_, client):
        model.move("production", second.number)
        for name in (second.number, "production"):
            assert predict(client, model_version=name).status_code == 404
        assert predict(client, model_version=first.number).json()["model_version"] == first.number
        assert client.get("/model/info").json()["mode"] == "pin"
    wrong = {"MODEL_VERSION": first.number, "MODEL_DIGEST": second.digest}
    with served(tmp_path, model.settings(**wrong), ready=False) as (_, client):
        wait_for(lambda: "MODEL_DIGEST is " + second.digest in client.get("/health").json()["problem"])
        assert client.get("/health/ready").status_code == 503
