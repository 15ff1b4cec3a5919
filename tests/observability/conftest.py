"""One real stack for all tests here: MLflow, a service with two models that follow an alias, and a Prometheus.

One of the models has a shadow, a store has the service's prediction log, and one row was explained.

The stack runs its script once: MLflow gets requests and stops, and the service gets requests and keeps running.
Prometheus has scraped all of it before the first test begins.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from embedded.processes import LOOPBACK, Server, free_port, program
from tests.integration.conftest import s3  # noqa: F401  (a fixture)
from tests.integration.serving_fixtures import Model, served, wait_for
from tests.integration.stores import S3Store
from tests.observability import load
from tests.observability.model import Rows, register_with_baseline
from tests.observability.promtool import Prometheus, prometheus_server
from tests.support.mlflow_tables import with_tables

SCRIPT: dict[load.Kind, int] = {"good": 900, "wrong": 40, "slow": 60, "failing": 20}
# Enough repetitions of the rows for drift to be measured.
HELD_OUT_TIMES = 16
# Prometheus cannot measure an increase before it has scraped a counter once.
FIRST: dict[load.Kind, int] = dict.fromkeys(SCRIPT, 1)


class Observed(msgspec.Struct, frozen=True):
    """The counts of the load, the metrics of serving and MLflow, and the Prometheus that scraped all of it.

    Two times are in seconds of Unix time: at `mlflow_seen` MLflow was still running, and at `held_out_seen` both models
    had only got held-out rows. After that, the load sends one row to the main model again and again. The further model
    has the same columns and another version.
    """

    model: str
    further_model: str
    answers: list[load.Answer]
    posted: set[str]
    """The paths of the service that accept POST."""
    serving_metrics: str
    mlflow_metrics: str
    mlflow_seen: float
    held_out_seen: float
    prometheus: Prometheus


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory, s3: S3Store) -> Iterator[Observed]:  # noqa: F811
    """Yield the stack after its script."""
    folder = tmp_path_factory.mktemp("stack")
    s3.client(s3.writer).create_bucket(Bucket="predictions")
    mlflow = mlflow_with_metrics(with_tables(tmp_path_factory, folder))
    with mlflow:
        model, further = Model(mlflow.url, folder), Model(mlflow.url, folder)
        held_out = register_with_baseline(model, folder / "bundle")
        further.register()
        register_with_baseline(further, folder / "further-bundle")
        shadow = model.register(strength=0.01)
        settings = model.settings(
            REGISTRY_TIMEOUT_SECONDS="0.3",
            MODEL_POLL_SECONDS="1",
            EXTRA_MODELS=json.dumps([{"name": further.name}]),
            SHADOW_VERSION=shadow.number,
            SHADOW_DIGEST=shadow.digest,
            SHADOW_SAMPLE="1",
            PREDICTION_LOG="s3://predictions/here/serving-here",
            PREDICTION_LOG_SECONDS="0.5",
            EXPLAIN="true",
            S3_ENDPOINT_URL=s3.url,
            AWS_ACCESS_KEY_ID=s3.writer.access_key,
            AWS_SECRET_ACCESS_KEY=s3.writer.secret_key,
        )
        with served(folder, settings) as (service, client):
            assert client.post("/explain", json={"features": held_out[0]}).status_code == 200
            addresses = {"serving-here": service.url, "mlflow": mlflow.url}
            targets = {job: httpx.URL(url).netloc.decode() for job, url in addresses.items()}
            with prometheus_server(folder, targets) as server, Prometheus(server.url) as prometheus:
                wait_for(lambda: len(prometheus.query("up == 1")) == len(targets))
                wait_for(lambda: scrapes("mlflow_http_request_total", prometheus) >= 3)
                wait_for(lambda: len(prometheus.query("serving_shadow_ready == 1")) == 1)
                mlflow_metrics = httpx.get(f"{mlflow.url}/metrics", trust_env=False).text
                mlflow_seen = prometheus.value("time()")
                mlflow.stop()
                for name in (model.name, further.name):
                    send(client, name, held_out * HELD_OUT_TIMES, prometheus)
                held_out_seen = prometheus.value("time()")
                paths = client.get("/openapi.json").json()["paths"]
                answers = run_script(httpx.URL(service.url), prometheus)
                serving_metrics = client.get("/metrics").text
                yield Observed(
                    model=model.name,
                    further_model=further.name,
                    answers=answers,
                    posted={path for path, item in paths.items() if "post" in item},
                    serving_metrics=serving_metrics,
                    mlflow_metrics=mlflow_metrics,
                    mlflow_seen=mlflow_seen,
                    held_out_seen=held_out_seen,
                    prometheus=prometheus,
                )


@pytest.fixture(scope="session")
def prometheus(observed: Observed) -> Prometheus:
    """Return the Prometheus of the stack."""
    return observed.prometheus


def send(client: httpx.Client, model: str, rows: Rows, prometheus: Prometheus) -> None:
    """Send all these rows to a model at once, and wait until Prometheus has scraped the effect."""
    tensor = {"name": "features", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": rows}
    assert client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).status_code == 200
    seen = f'sum(serving_drift_window_rows{{model_name="{model}"}}) or vector(0)'
    wait_for(lambda: prometheus.value(seen) >= len(rows))


def run_script(service: httpx.URL, prometheus: Prometheus) -> list[load.Answer]:
    """Send the script's requests, and return the answers once Prometheus has scraped all of them often enough.

    Prometheus extrapolates by half a scrape interval at both ends. With forty scrapes, that is one fortieth.
    """
    assert service.port is not None

    def counted() -> float:
        return prometheus.value('sum(serving_requests_total{route="/predict"}) or vector(0)')

    before = counted() + len(load.run(service.host, service.port, FIRST))
    wait_for(lambda: counted() >= before)
    answers = load.run(service.host, service.port, SCRIPT)
    wait_for(lambda: counted() >= before + len(answers))
    wait_for(lambda: scrapes("serving_requests_total", prometheus) >= 40)
    return answers


def scrapes(metric: str, prometheus: Prometheus) -> float:
    """Return how often the newest series of a metric was scraped in the last minutes, or 0."""
    return min((sample.value for sample in prometheus.query(f"count_over_time({metric}[5m])")), default=0)


def mlflow_with_metrics(folder: Path) -> Server:
    """Describe an MLflow that exports metrics, started as by the chart and compose.yaml."""
    port = free_port()
    address = ["--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    metrics = ["--expose-prometheus", str(folder / "metrics")]
    return Server(
        "MLflow",
        [program("mlflow"), "server", *address, *store, *artifacts, *metrics],
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/health",
        log=folder / "mlflow.log",
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
