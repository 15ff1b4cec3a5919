"""The platform of the six charts on a cluster.

The API server accepts every object under Pod Security `restricted`, the platform starts, and it passes its own `helm
test`s.
"""

import pytest

from tests.e2e.charts.stack import MODEL, Stack, Version
from tests.e2e.helm import Release
from tests.e2e.kube import CommandError, together
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(400)


def test_the_server_accepts_every_object(stack: Stack, report: Report) -> None:
    any_version = Version(MODEL, "1", {"digest": "sha256:" + 64 * "0"}, "s3://mlflow/1")
    releases = [
        stack.minio_release(),
        stack.postgres_release(),
        stack.mlflow_release(),
        stack.training_release(),
        stack.observability_release(),
        stack.serving_release(any_version.pins),
    ]

    judged = together(*(lambda release=release: stack.helm.judge(release) for release in releases))

    assert all(judged)
    rows = [(release.chart, len(names)) for release, names in zip(releases, judged, strict=True)]
    report.table("Objects that the API server validated", [("chart", "objects"), *rows])


def test_pod_security_is_enforced(stack: Stack) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unconfined", "namespace": stack.platform},
        "spec": {"containers": [{"name": "root", "image": stack.images.mlflow.reference}]},
    }

    with pytest.raises(CommandError, match='violates PodSecurity "restricted'):
        stack.kube.apply([pod])


def test_the_platform_is_installed(stack: Stack) -> None:
    def install(*releases: Release) -> None:
        together(*(lambda release=release: stack.helm.install(release) for release in releases))

    install(stack.minio_release(), stack.postgres_release(), stack.observability_release())
    install(stack.mlflow_release(), stack.training_release())

    cronjobs = stack.kube.items(stack.platform, "cronjobs")
    assert {cronjob["metadata"]["name"]: cronjob["spec"]["suspend"] for cronjob in cronjobs} == {
        "mlflow-gc": False,
        "postgres-backup": False,
        "postgres-restore": True,
        "training-iris": True,
    }


def test_the_platform_passes_its_own_tests(stack: Stack) -> None:
    releases = [stack.minio_release(), stack.postgres_release(), stack.mlflow_release()]

    together(*(lambda release=release: stack.helm.test(release) for release in releases))
