"""Which rights each user has in the chart's MLflow, on the real server with its Postgres and S3."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from embedded.processes import Server, program
from gitops.cluster.client import Cluster
from gitops.cluster.secrets import encoded
from gitops.commands.options import registry
from gitops.errors import BadInputError
from tests.charts.mlflow_release import MACHINES, PASSWORD, USER, Release
from tests.integration.stores import BUCKET, S3Store

pytestmark = pytest.mark.timeout(420)

ROOT = Path(__file__).parents[2]
MODEL = "iris-classifier"
API, AJAX = "/api/2.0/mlflow", "/ajax-api/2.0/mlflow"
REFUSED, FORBIDDEN, OK = httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.OK
Ask = Callable[[str], httpx.Client]


class Trained(msgspec.Struct, frozen=True):
    """What a training registered: a version, its run, and the path of its files in the bucket."""

    version: str
    run: str
    files: str


@pytest.fixture(scope="module")
def ask(server: Server) -> Iterator[Ask]:
    """Return a function that gives the client of a user. An empty name gives a client without a password."""
    opened = {}
    for name in ("", USER, *MACHINES):
        password = PASSWORD if name == USER else f"{name}-{PASSWORD}"
        auth = (name, password) if name else None
        opened[name] = httpx.Client(base_url=server.url, auth=auth, timeout=30, trust_env=False)
    yield opened.__getitem__
    for client in opened.values():
        client.close()


@pytest.fixture(scope="module")
def trained(server: Server, store: S3Store, ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Run `training run` as the training chart's user with that user's keys, and return what it registered."""
    environment = {
        **os.environ,
        **store.environment(store.writer),
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_TRACKING_USERNAME": "training",
        "MLFLOW_TRACKING_PASSWORD": f"training-{PASSWORD}",
    }
    command = [program("training"), "run", "--model-dir", str(ROOT / "models" / "iris")]
    folder = tmp_path_factory.mktemp("training")
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    key = {"name": MODEL, "alias": "candidate"}
    found = ask("serving").get(f"{API}/registered-models/alias", params=key).raise_for_status().json()["model_version"]
    located = {"name": MODEL, "version": found["version"]}
    uri = ask("serving").get(f"{API}/model-versions/get-download-uri", params=located).raise_for_status().json()
    return Trained(found["version"], found["run_id"], uri["artifact_uri"].removeprefix(f"s3://{BUCKET}/"))


def upload(client: httpx.Client, run: str, path: str = "model.onnx") -> int:
    where = f"{AJAX}/upload-artifact"
    return client.post(where, params={"run_uuid": run, "path": path}, content=b"forged").status_code


def set_alias(client: httpx.Client, trained: Trained) -> int:
    body = {"name": MODEL, "alias": "staging", "version": trained.version}
    return client.post(f"{API}/registered-models/alias", json=body).status_code


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/registered-models/search",
        f"{AJAX}/registered-models/search",
        f"{AJAX}/upload-artifact",
        "/get-artifact",
        "/model-versions/get-artifact",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/graphql",
        "/metrics",
        "/version",
        "/",
    ],
)
def test_a_stranger_sees_nothing(ask: Ask, path: str) -> None:
    assert ask("").get(path).status_code == REFUSED
    assert ask("").post(path).status_code == REFUSED


def test_a_stranger_sees_only_that_the_server_runs(ask: Ask) -> None:
    assert ask("").get("/health").text == "OK"
    assert ask("").get("/api/3.0/mlflow/server-info").status_code == OK


def test_a_strangers_file_does_not_reach_a_model(ask: Ask, store: S3Store, trained: Trained) -> None:
    before = {entry["Key"]: entry["ETag"] for entry in _files(store)}
    assert upload(ask(""), trained.run) == REFUSED
    for name in ("serving", "smoke", "gitops"):
        assert upload(ask(name), trained.run) == FORBIDDEN, name
    assert {entry["Key"]: entry["ETag"] for entry in _files(store)} == before


def test_the_server_itself_writes_no_file_for_any_user(ask: Ask, store: S3Store, trained: Trained) -> None:
    before = {entry["Key"]: entry["ETag"] for entry in _files(store)}
    assert upload(ask(USER), trained.run) == httpx.codes.INTERNAL_SERVER_ERROR
    assert upload(ask("training"), trained.run) == httpx.codes.INTERNAL_SERVER_ERROR
    assert {entry["Key"]: entry["ETag"] for entry in _files(store)} == before
    # Its pages can still show files.
    shown = ask(USER).get("/get-artifact", params={"run_uuid": trained.run, "path": "gate.json"})
    assert shown.status_code == OK, shown.text


@pytest.mark.parametrize("name", ["serving", "smoke"])
def test_a_reader_cannot_create_an_experiment_at_a_place_in_the_store(ask: Ask, trained: Trained, name: str) -> None:
    # The experiment's files would be written to this place, next to a model's.
    body = {"name": f"of-{name}", "artifact_location": f"s3://{BUCKET}/{trained.files}"}
    assert ask(name).post(f"{API}/experiments/create", json=body).status_code == FORBIDDEN
    run = {"experiment_id": "0"}
    assert ask(name).post(f"{API}/runs/create", json=run).status_code == FORBIDDEN


def test_the_serving_user_reads_versions_and_changes_nothing(ask: Ask, trained: Trained) -> None:
    serving = ask("serving")
    query = {"filter": f"name='{MODEL}' and tags.release='v1.0.0'"}
    found = serving.get(f"{API}/model-versions/search", params=query).raise_for_status().json()
    assert [version["version"] for version in found["model_versions"]] == [trained.version]
    assert set_alias(serving, trained) == FORBIDDEN
    tag = {"name": MODEL, "version": trained.version, "key": "gate", "value": "passed"}
    assert serving.post(f"{API}/model-versions/set-tag", json=tag).status_code == FORBIDDEN
    version = {"name": MODEL, "source": f"s3://{BUCKET}/elsewhere"}
    assert serving.post(f"{API}/model-versions/create", json=version).status_code == FORBIDDEN
    assert serving.get(f"{API}/runs/get", params={"run_id": trained.run}).status_code == FORBIDDEN


def test_a_smoke_test_moves_aliases_and_changes_no_version(ask: Ask, trained: Trained) -> None:
    smoke = ask("smoke")
    assert set_alias(smoke, trained) == OK
    version = {"name": MODEL, "version": trained.version}
    tag = {**version, "key": "gate", "value": "passed"}
    assert smoke.post(f"{API}/model-versions/set-tag", json=tag).status_code == FORBIDDEN
    assert smoke.request("DELETE", f"{API}/model-versions/delete", json=version).status_code == FORBIDDEN
    alias = {"name": MODEL, "alias": "staging"}
    assert smoke.request("DELETE", f"{API}/registered-models/alias", json=alias).status_code == FORBIDDEN


@pytest.mark.parametrize("name", MACHINES)
def test_no_pipeline_user_is_an_administrator(ask: Ask, name: str) -> None:
    made = {"username": "mallory", "password": "long-enough-for-it"}
    assert ask(name).post(f"{API}/users/create", json=made).status_code == FORBIDDEN
    other = {"username": USER, "password": "long-enough-for-it"}
    assert ask(name).patch(f"{API}/users/update-password", json=other).status_code == FORBIDDEN


def test_the_command_signs_in_by_the_clusters_secret(
    server: Server, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"username": "gitops", "password": f"gitops-{PASSWORD}"}
    _kubectl(tmp_path, server.url, {"data": encoded(login)})
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with registry(None, Cluster()) as models:
        found = models.find(f"{MODEL}@candidate")
        assert found.model.version == trained.version
        assert found.metrics, "the metrics of the run"
        with pytest.raises(BadInputError, match="The user gitops may not do that"):
            models.remove_alias(MODEL, "candidate")
    _kubectl(tmp_path, server.url, {"data": {}})
    with registry(None, Cluster()) as models, pytest.raises(BadInputError, match="the Secret mlflow-gitops"):
        models.find(f"{MODEL}@candidate")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with registry(None, Cluster()) as models:
        assert models.find(f"{MODEL}@candidate")


def test_a_new_password_in_the_secret_replaces_the_old_one(release: Release, server: Server, ask: Ask) -> None:
    said = release.run("Job/mlflow-migration", SMOKE_PASSWORD="another-password-of-it")
    assert "User smoke has a new password." in said
    assert "another-password" not in said
    with httpx.Client(base_url=server.url, auth=("smoke", "another-password-of-it"), trust_env=False) as renewed:
        assert renewed.get(f"{API}/registered-models/search").status_code == OK
    release.run("Job/mlflow-migration")
    assert ask("smoke").get(f"{API}/registered-models/search").status_code == OK


def test_additional_rights_of_a_role_are_removed(release: Release, server: Server, ask: Ask) -> None:
    roles = {"workspace": "default"}
    admin = ask(USER)
    found = admin.get("/api/3.0/mlflow/roles/list", params=roles).raise_for_status().json()["roles"]
    (serving,) = (role for role in found if role["name"] == "ml-pipeline-serving")
    more = {"role_id": serving["id"], "resource_type": "run", "resource_pattern": "*", "permission": "MANAGE"}
    admin.post("/api/3.0/mlflow/roles/permissions/add", json=more).raise_for_status()
    release.run("Job/mlflow-migration")
    kept = admin.get("/api/3.0/mlflow/roles/permissions/list", params={"role_id": serving["id"]}).json()
    assert "run" not in {right["resource_type"] for right in kept["role_permissions"]}


def _files(store: S3Store) -> list[dict[str, str]]:
    found: list[dict[str, str]] = store.client(store.writer).list_objects_v2(Bucket=BUCKET)["Contents"]
    return found


def _kubectl(folder: Path, url: str, secret: dict[str, object]) -> None:
    """Write a program that answers like kubectl: with a Secret, and with a port-forward to MLflow."""
    answers = folder / "kubectl"
    answers.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        f"if 'port-forward' not in sys.argv: sys.exit(print({msgspec.json.encode(secret).decode()!r}))\n"
        f"print('Forwarding from {url.removeprefix('http://')} -> 5000', flush=True)\n"
        "time.sleep(60)\n"
    )
    answers.chmod(0o755)
