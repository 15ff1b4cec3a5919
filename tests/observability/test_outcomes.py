"""Truth that arrives later, with a real service, store, MLflow, Pushgateway and Prometheus."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from embedded.monitoring import pushgateway
from embedded.processes import Server, program
from embedded.servers import mlflow_server
from services.serving.tests.bundles import CLASSES
from tests.integration.logged import LOG_BUCKET, Logged
from tests.integration.serving_fixtures import Model, Version, served, wait_for
from tests.integration.stores import S3Store
from tests.observability import sources
from tests.observability.content import rules
from tests.observability.promtool import TOOLS, Prometheus, prometheus_server
from tests.observability.test_metrics import documented
from tests.support.mlflow_tables import with_tables

IRIS = load_iris()
LABELS = [CLASSES[label] for label in IRIS.target]
SERVICE, ENVIRONMENT, NAMESPACE = "iris", "live", "ml-live"
GATE = {"passed": True, "checks": [{"name": "accuracy", "relation": "at least", "bound": 0.7}]}


class Stack(msgspec.Struct, frozen=True):
    """The shared stack: a log of 150 rows in 50 requests of three rows, and the addresses of all parts."""

    folder: Path
    s3: S3Store
    mlflow: Server
    gateway: Server
    prometheus: Prometheus
    version: Version
    log: str

    def outcomes(self, truth: pd.DataFrame, name: str, *more: str) -> "subprocess.CompletedProcess[str]":
        """Put truth into the store as a CSV file, and run the command."""
        key = f"truth/{name}.csv"
        self.s3.client(self.s3.writer).put_object(Bucket=LOG_BUCKET, Key=key, Body=truth.to_csv(index=False).encode())
        where = ["--environment", ENVIRONMENT, "--log", self.log, "--truth", f"s3://{LOG_BUCKET}/{key}"]
        push = ["--push", self.gateway.url, "--namespace", NAMESPACE]
        return subprocess.run(
            [program("training"), "outcomes", SERVICE, *where, *push, "--json", *more],
            env={**os.environ, "MLFLOW_TRACKING_URI": self.mlflow.url, **self.s3.environment(self.s3.writer)},
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    def pending(self) -> bool:
        """Return whether the alert's condition is true in Prometheus."""
        return bool(self.prometheus.query('ALERTS{alertname="ModelQualityBelowGate"}'))


def report(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, s3: S3Store) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("outcomes")
    logged = Logged.below(s3, "outcomes-")
    below = msgspec.structs.replace(logged, prefix=f"{logged.prefix}/{ENVIRONMENT}/{SERVICE}")
    tables = with_tables(tmp_path_factory, folder)
    with mlflow_server(tables) as mlflow, pushgateway(TOOLS / "pushgateway", folder) as gateway:
        model = Model(mlflow.url, folder)
        version = model.register(tags={"release": "v1.0.0"})
        run = model.client.get_model_version(model.name, version.number).run_id
        assert run
        model.client.log_metric(run, "accuracy", 0.97)
        model.client.log_text(run, json.dumps(GATE), "gate.json")
        pin = model.pin(version)
        settings = {f"MODEL_{name.upper()}": value for name, value in pin.items()}
        settings |= {"MODEL_URI": version.folder.as_uri(), "MODEL_RELEASE": "v1.0.0"}
        with served(folder, {**settings, **below.settings()}) as (_, client):
            for at in range(50):
                rows = IRIS.data[3 * at : 3 * at + 3].tolist()
                answer = client.post("/predict", json={"instances": rows}, headers={"x-request-id": f"order-{at}"})
                assert answer.status_code == 200
        targets = {"pushgateway": httpx.URL(gateway.url).netloc.decode()}
        watching = prometheus_server(folder, targets, honoured=["pushgateway"])
        with watching as server, Prometheus(server.url) as prometheus:
            yield Stack(folder, s3, mlflow, gateway, prometheus, version, f"s3://{LOG_BUCKET}/{logged.prefix}")


def truth_of(labels: list[str]) -> pd.DataFrame:
    ids = [f"order-{at // 3}" for at in range(len(labels))]
    return pd.DataFrame({"request_id": ids, "row": [at % 3 for at in range(len(labels))], "truth": labels})


def test_good_answers_appear_in_prometheus_and_fire_no_alert(stack: Stack) -> None:
    found = report(stack.outcomes(truth_of(LABELS), "good"))
    [version] = found["versions"]
    assert (found["logged"], found["joined"], found["refused"]) == (150, 150, {})
    assert (version["digest"], version["held_out"]) == (stack.version.digest, {"accuracy": 0.97})
    accuracy = version["realised"]["metrics"]["accuracy"]["value"]
    assert accuracy > 0.9
    labels = f'namespace="{NAMESPACE}", job="{SERVICE}"'
    wait_for(lambda: bool(stack.prometheus.query("model_realised")))
    assert stack.prometheus.value(f'model_realised{{{labels}, metric="accuracy"}}') == pytest.approx(accuracy)
    assert stack.prometheus.value(f"model_gate_bound{{{labels}}}") == 0.7
    assert stack.prometheus.value(f"model_outcomes_joined{{{labels}}}") == 150
    assert not stack.pending()
    assert sources.ELSEWHERE["training outcomes"] - stack.prometheus.metrics() == {
        "model_realised_slice", "model_outcomes_refused",
    }  # fmt: skip


def test_a_model_that_became_wrong_fires_the_alert_and_doubtful_rows_are_reported(stack: Stack) -> None:
    """The world changed: what was one species now has another name."""
    turned = {label: CLASSES[(place + 1) % 3] for place, label in enumerate(CLASSES)}
    table = truth_of([turned[label] for label in LABELS])
    doubtful = pd.DataFrame(
        [
            ("nobody", 0, "setosa"), ("order-0", 9, "setosa"), ("order-1", None, "setosa"), ("order-2", 0, None),
            ("order-3", 0, table["truth"][9]), ("order-4", 0, "something else"),
        ],
        columns=["request_id", "row", "truth"],
    )  # fmt: skip
    aside = stack.folder / "refused.jsonl"
    found = report(stack.outcomes(pd.concat([table, doubtful]), "bad", "--refused", str(aside)))
    assert found["refused"] == {
        "unknown": 1, "unknown_row": 1, "no_row": 1, "empty": 1, "double": 1, "contradiction": 2,
    }  # fmt: skip
    assert found["joined"] == 149
    [version] = found["versions"]
    assert version["below_gate"] == ["accuracy"]
    assert version["realised"]["metrics"]["accuracy"]["upper"] < 0.7
    assert version["estimated"]["accuracy"]["value"] > 0.7, "probabilities cannot show that the world changed"
    assert len(aside.read_text().splitlines()) == 7
    wait_for(stack.pending)
    [alert] = stack.prometheus.query('ALERTS{alertname="ModelQualityBelowGate"}')
    assert {name: alert.labels[name] for name in ("namespace", "job", "metric", "model_version")} == {
        "namespace": NAMESPACE, "job": SERVICE, "metric": "accuracy", "model_version": stack.version.number,
    }  # fmt: skip
    assert stack.prometheus.value('model_outcomes_refused{reason="contradiction"}') == 2


def test_truth_of_another_type_is_refused(stack: Stack) -> None:
    path = stack.folder / "numbers.parquet"
    truth_of(LABELS).assign(truth=IRIS.target).to_parquet(path)
    found = report(stack.outcomes(truth_of(LABELS), "good", "--truth", str(path)))
    assert (found["joined"], found["refused"]) == (150, {"type": 150})
    wait_for(lambda: not stack.pending())


def test_labels_are_the_documented_ones(stack: Stack) -> None:
    shown = {
        sample.labels["__name__"]: set(sample.labels) - {"__name__", "namespace", "job", "instance", "pod"}
        for sample in stack.prometheus.query('{__name__=~"model_.+"}')
    }
    assert len(shown) >= 11
    told = documented()
    assert shown == {name: told[name] for name in shown}
    assert {name for name in told if name.startswith("model_")} - set(shown) == {"model_realised_slice"}


def test_the_alert_has_the_rule_of_the_chart(stack: Stack) -> None:
    [rule] = [rule for rule in rules() if rule.alert == "ModelQualityBelowGate"]
    assert stack.prometheus.query(rule.expr) == []


def test_a_pushgateway_that_is_down_fails_the_run_but_loses_no_report(stack: Stack) -> None:
    """Runs last, because it stops a server for good."""
    stack.gateway.stop()
    done = stack.outcomes(truth_of(LABELS), "good")
    assert done.returncode == 1
    assert "The Pushgateway at" in done.stderr
    assert "does not answer" in done.stderr
    assert "record   run" in done.stderr
