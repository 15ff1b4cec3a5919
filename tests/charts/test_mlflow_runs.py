"""The mlflow chart's containers work together: their rendered commands and variables, on a real Postgres.

The migration, the file with the users' database, the server with passwords, the request of `helm test` and the garbage
collection run here as processes. Only addresses differ from those in a cluster.
"""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from embedded.processes import Server
from tests.charts.mlflow_release import PASSWORD, POD_IP, USER, Release

# On a busy machine, building the schema takes longer than the timeout of other tests.
pytestmark = pytest.mark.timeout(420)


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


def test_it_requires_a_password_except_for_probes(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as stranger:
        assert search(stranger, "mlflow:5000") == httpx.codes.UNAUTHORIZED
        assert stranger.get("/metrics", headers={"host": f"{POD_IP}:5000"}).status_code == httpx.codes.UNAUTHORIZED
        # The kubelet sends the pod's address as Host, and a load balancer may send its own.
        assert stranger.get("/health", headers={"host": "192.0.2.1:5000"}).status_code == httpx.codes.OK


def test_prometheus_reads_its_metrics_at_a_port_that_shows_nothing_else(client: httpx.Client, release: Release) -> None:
    search(client, "mlflow:5000")
    with release.metrics() as metrics, httpx.Client(base_url=metrics.url, trust_env=False) as prometheus:
        answer = prometheus.get("/metrics", headers={"host": f"{POD_IP}:9090"})
        assert answer.status_code == httpx.codes.OK
        assert "mlflow_http_request_total" in answer.text
        assert prometheus.get("/api/2.0/mlflow/experiments/get").status_code == httpx.codes.NOT_FOUND


def test_the_metrics_of_a_server_that_is_down_answer_503(release: Release) -> None:
    with release.metrics(HEALTH_URL="http://127.0.0.1:1/health", ready=503) as metrics:
        assert httpx.get(f"{metrics.url}/metrics", trust_env=False).status_code == httpx.codes.SERVICE_UNAVAILABLE


def test_new_experiments_keep_their_files_in_the_store(client: httpx.Client) -> None:
    answer = client.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
    assert answer.json()["experiment"]["artifact_location"] == "s3://mlflow/0"


def test_it_starts_no_job_runners(server: Server) -> None:
    assert not [process for process in server.family() if "huey" in " ".join(process.cmdline())]


def test_helm_test_passes(server: Server, release: Release) -> None:
    release.run("Pod/mlflow-test")
    said = release.run("Pod/mlflow-test", code=1, MLFLOW_TRACKING_PASSWORD="not-the-password")
    assert "not authenticated" in said


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
    # Make the database believe that it was deleted an hour ago.
    with psycopg.connect(release.secrets["mlflow-database", "uri"].replace("+psycopg", "")) as database:
        database.execute("UPDATE experiments SET last_update_time = last_update_time - 3600000 WHERE name = 'deleted'")

    release.run("CronJob/mlflow-gc")

    def status(experiment: str) -> int:
        return client.get("/api/2.0/mlflow/experiments/get", params={"experiment_id": experiment}).status_code

    assert status(kept) == httpx.codes.OK
    assert status(deleted) == httpx.codes.NOT_FOUND
