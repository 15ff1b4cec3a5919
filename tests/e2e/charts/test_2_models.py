"""The path of a model inside the cluster.

The training chart's Job registers it, serving pods load it from S3 by its pins with a user who can only read, and the
chart's smoke test moves the alias to the version that answered.
"""

import pytest

from tests.e2e.charts.stack import MODEL, Stack
from tests.e2e.kube import together
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(400)


def test_a_job_trains_and_registers(stack: Stack) -> None:
    stack.kube.run_cronjob(stack.platform, "training-iris", "train-first", seconds=300)

    registry = stack.registry()
    version = registry.version("1")
    assert version.name == MODEL
    assert version.uri.startswith("s3://mlflow/")
    assert version.tags["gate"] == "passed"
    assert version.tags["release"] == "v1.0.0"
    assert registry.aliases == {f"{MODEL}@candidate": "1"}


def test_serving_pods_load_it_from_s3(stack: Stack) -> None:
    first = stack.registry().version("1")

    def serve() -> None:
        stack.helm.install(stack.serving_release(first.pins))

    def train_another() -> None:
        stack.helm.install(stack.training_release(changes={"params": {"C": 0.5}}))
        stack.kube.run_cronjob(stack.platform, "training-iris", "train-second", seconds=300)

    together(serve, train_another)

    answer = stack.predict()
    assert answer["prediction"]["prediction"] == "setosa"
    assert answer["prediction"]["model_version"] == "1"
    assert (answer["info"]["version"], answer["info"]["digest"]) == ("1", first.tags["digest"])
    assert stack.ready_pods() >= 2
    assert stack.registry().aliases == {f"{MODEL}@candidate": "2"}


def test_the_smoke_test_moves_the_alias(stack: Stack, report: Report) -> None:
    stack.helm.test(stack.serving_release(stack.registry().version("1").pins))

    registry = stack.registry()
    assert registry.aliases[f"{MODEL}@staging"] == "1"
    rows = [(v.version, v.tags["release"], v.tags["digest"][:19], v.uri) for v in registry.versions]
    report.table("Registered versions", [("version", "release", "digest", "files"), *rows])
