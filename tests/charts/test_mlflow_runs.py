"""Proves that the mlflow chart's containers work together: their rendered commands and variables, on a real Postgres.

The migration, the file with the users' database, the server with passwords, `helm test`'s question and the garbage
collection run here as processes, with nothing changed but addresses. S3 is only named: no file is written to it.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from embedded.processes import LOOPBACK, Server, free_port, program
from tests.integration.stores import postgres
from tests.support import helm
from tests.support.manifests import Manifest, name_of, parse

USER, PASSWORD = "admin", "correct-horse-battery"
POD_IP = "10.42.0.17"
VALUES = {
    "auth": {"enabled": True},
    "gc": {"olderThan": "1s"},
    "ingress": {"enabled": True, "hosts": ["mlflow.example.com"], "tlsSecret": "mlflow-tls"},
}


# Building the schema on a busy machine takes longer than any other test may.
pytestmark = pytest.mark.timeout(420)


class Release:
    """The rendered chart, and what a kubelet would know: Secrets, the pod's address, and where volumes are."""

    def __init__(self, folder: Path, database: str) -> None:
        values = folder / "values.yaml"
        values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
        outcome = helm.template("mlflow", values)
        assert outcome.code == 0, outcome.errors
        self.manifests = {name_of(manifest): manifest for manifest in parse(outcome.output)}
        self.folder = folder
        self.port = free_port()
        self.secrets = {
            ("mlflow-database", "uri"): database,
            ("mlflow-auth", "username"): USER,
            ("mlflow-auth", "password"): PASSWORD,
            ("mlflow-auth", "flask-secret-key"): "0123456789abcdef",
            ("s3-mlflow", "AWS_ACCESS_KEY_ID"): "key",
            ("s3-mlflow", "AWS_SECRET_ACCESS_KEY"): "secret",
        }

    def container(self, name: str, key: str = "containers") -> dict[str, Any]:
        manifest: Manifest = self.manifests[name]
        spec = manifest["spec"]
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        (container,) = (spec if manifest["kind"] == "Pod" else spec["template"]["spec"])[key]
        return dict(container)

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """Return the variables as the kubelet would, volumes under this release's folder."""
        found: dict[str, str] = {}
        for variable in container["env"]:
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                found[variable["name"]] = self.secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
            elif "fieldRef" in source:
                found[variable["name"]] = POD_IP
            else:
                found[variable["name"]] = variable["value"].replace("$(POD_IP)", found.get("POD_IP", ""))
        return {name: self.local(value) for name, value in found.items()} | {"HOME": str(self.folder)}

    def local(self, value: str) -> str:
        for mount in ("/run/mlflow", "/tmp/metrics"):  # noqa: S108  (the container's, not this machine's)
            value = value.replace(mount, str(self.folder) + mount)
        return value.replace("http://mlflow.ml-pipeline:5000", f"http://{LOOPBACK}:{self.port}")

    def command(self, container: dict[str, Any]) -> list[str]:
        first, *rest = container.get("command") or ["mlflow"]
        return [program(first), *rest, *container["args"]]

    def run(self, name: str, key: str = "containers", *, code: int = 0, **changed: str) -> str:
        """Run a container to its end, with the variables `changed`, and return what it wrote."""
        container = self.container(name, key)
        environment = {**os.environ, **self.environment(container), **changed}
        done = subprocess.run(
            self.command(container),
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "run" / "mlflow").mkdir(parents=True)
    with postgres(tmp_path_factory.mktemp("postgres")) as uri:
        yield Release(folder, uri)


@pytest.fixture(scope="module")
def server(release: Release) -> Iterator[Server]:
    release.run("Job/mlflow-migration")
    release.run("Deployment/mlflow", "initContainers")
    container = release.container("Deployment/mlflow")
    environment = release.environment(container)
    environment |= {"MLFLOW_HOST": LOOPBACK, "MLFLOW_PORT": str(release.port)}
    with Server(
        "MLflow",
        release.command(container),
        url=f"http://{LOOPBACK}:{release.port}",
        ready_path=container["readinessProbe"]["httpGet"]["path"],
        log=release.folder / "mlflow.log",
        environment=environment,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=(USER, PASSWORD), timeout=30, trust_env=False) as opened:
        yield opened


def search(client: httpx.Client, host: str, **headers: str) -> int:
    body = {"max_results": 1}
    answer = client.post("/api/2.0/mlflow/experiments/search", json=body, headers={"host": host, **headers})
    return answer.status_code


@pytest.mark.parametrize(
    "host",
    [
        "mlflow:5000",
        "mlflow.ml-pipeline:5000",
        "mlflow.ml-pipeline.svc:5000",
        "mlflow.ml-pipeline.svc.cluster.local:5000",
        "mlflow.ml-pipeline",
        "localhost:5000",
        "127.0.0.1:41234",
        "mlflow.example.com",
        f"{POD_IP}:5000",
    ],
)
def test_it_answers_under_each_of_its_names(client: httpx.Client, host: str) -> None:
    assert search(client, host) == httpx.codes.OK


@pytest.mark.parametrize("host", ["evil.example.com", "10.42.0.18:5000", "mlflow.ml-pipeline.evil.example.com:5000"])
def test_it_refuses_other_names(client: httpx.Client, host: str) -> None:
    assert search(client, host) == httpx.codes.FORBIDDEN


def test_its_own_pages_may_change_things_and_others_may_not(client: httpx.Client) -> None:
    assert search(client, "mlflow.example.com", origin="https://mlflow.example.com") == httpx.codes.OK
    assert search(client, "mlflow.example.com", origin="https://evil.example.com") == httpx.codes.FORBIDDEN


def test_it_asks_for_a_password_but_lets_probes_in(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as stranger:
        assert search(stranger, "mlflow:5000") == httpx.codes.UNAUTHORIZED
        assert stranger.get("/metrics", headers={"host": f"{POD_IP}:5000"}).status_code == httpx.codes.UNAUTHORIZED
        # The kubelet asks with the pod's address, and so may a load balancer with its own.
        assert stranger.get("/health", headers={"host": "192.0.2.1:5000"}).status_code == httpx.codes.OK


def test_prometheus_reads_its_metrics(client: httpx.Client) -> None:
    search(client, "mlflow:5000")
    answer = client.get("/metrics", headers={"host": f"{POD_IP}:5000"})
    assert answer.status_code == httpx.codes.OK
    assert "mlflow_http_request_total" in answer.text


def test_new_experiments_keep_their_files_in_the_store(client: httpx.Client) -> None:
    answer = client.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
    assert answer.json()["experiment"]["artifact_location"] == "s3://mlflow/0"


def test_it_starts_no_job_runners(server: Server) -> None:
    assert not [process for process in server.family() if "huey" in " ".join(process.cmdline())]


def test_helm_test_passes(server: Server, release: Release) -> None:
    assert "Default" in release.run("Pod/mlflow-test")


def test_migrating_again_changes_nothing(client: httpx.Client, release: Release) -> None:
    release.run("Job/mlflow-migration")
    assert search(client, "mlflow:5000") == httpx.codes.OK


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("postgresql+psycopg://mlflow:hidden@127.0.0.1:1/mlflow", "No connection to the database with "),
        ("postgresql+psycopg://mlflow:hidden@postgres:port/mlflow", " is not the address of a database"),
        ("mlflow.db", " is not the address of a database"),
        ("mysql+pymysql://mlflow:hidden@mysql/mlflow", "whose driver (pymysql) is not in this image"),
        ("postgresql+psycopg2://mlflow:hidden@postgres/mlflow", "it is postgresql+psycopg://USER@HOST:5432/"),
    ],
)
def test_a_migration_without_a_database_names_the_secret(release: Release, address: str, fault: str) -> None:
    said = release.run("Job/mlflow-migration", code=1, MLFLOW_BACKEND_STORE_URI=address)
    assert "`uri` of Secret mlflow-database" in said
    assert fault in said
    assert "hid" not in said


def test_garbage_collection_removes_deleted_experiments_only(client: httpx.Client, release: Release) -> None:
    def create(name: str) -> str:
        answer = client.post("/api/2.0/mlflow/experiments/create", json={"name": name})
        return str(answer.raise_for_status().json()["experiment_id"])

    kept, deleted = create("kept"), create("deleted")
    client.post("/api/2.0/mlflow/experiments/delete", json={"experiment_id": deleted}).raise_for_status()
    # Deleted an hour ago, as far as the database knows.
    with psycopg.connect(release.secrets["mlflow-database", "uri"].replace("+psycopg", "")) as database:
        database.execute("UPDATE experiments SET last_update_time = last_update_time - 3600000 WHERE name = 'deleted'")

    release.run("CronJob/mlflow-gc")

    def status(experiment: str) -> int:
        return client.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": experiment}).status_code

    assert status(kept) == httpx.codes.OK
    assert status(deleted) == httpx.codes.NOT_FOUND
