"""Parts are killed one after another or scaled to zero: predictions never fail, and everything converges."""

import contextlib
import json
from collections.abc import Iterator

from tests.e2e.argocd.pipeline import APPLICATIONS, Pipeline, settled
from tests.e2e.argocd.places import PRODUCTION
from tests.e2e.report import Report

PLATFORM = "ml-pipeline"
PARTS = (
    ("argocd", "app.kubernetes.io/name=argocd-repo-server", "deployment/argocd-repo-server"),
    ("argocd", "app.kubernetes.io/name=argocd-application-controller", "statefulset/argocd-application-controller"),
    (PLATFORM, "app.kubernetes.io/instance=mlflow,app.kubernetes.io/component=server", "deployment/mlflow"),
    (PLATFORM, "app.kubernetes.io/instance=postgres,app.kubernetes.io/component=server", "statefulset/postgres"),
    (PLATFORM, "app.kubernetes.io/instance=minio,app.kubernetes.io/component=server", "statefulset/minio"),
)


def test_predictions_continue_while_parts_are_killed(pipeline: Pipeline, report: Report) -> None:
    with pipeline.load(PRODUCTION) as results:
        for namespace, labels, workload in PARTS:
            killed = pipeline.kube.run(
                "delete", "pod", "-n", namespace, "-l", labels, "--grace-period=0", "--force", "-o", "name"
            )
            assert killed.strip(), f"no pod has {labels}"
            pipeline.kube.wait_rolled_out(namespace, workload, seconds=180)
        pipeline.look_at_git()
        for app in pipeline.applications():
            pipeline.wait_settled(app["metadata"]["name"])
    report.add("Requests", f"- {len(PARTS)} parts killed one after another: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_fresh_production_pod_starts_without_mlflow_and_postgres(pipeline: Pipeline, report: Report) -> None:
    with _away(pipeline, "mlflow", "deployment/mlflow"), _away(pipeline, "postgres", "statefulset/postgres"):
        old = sorted(pipeline.ready_names(PRODUCTION))
        with pipeline.load(PRODUCTION) as results:
            pipeline.kube.run("delete", "pod", "-n", PRODUCTION.namespace, old[0])
            pipeline.kube.wait(
                "a fresh pod is ready",
                lambda: len(pipeline.ready_names(PRODUCTION) - set(old)) > 0,
                seconds=120,
                namespace=PRODUCTION.namespace,
            )
        answer = pipeline.predict(PRODUCTION)
    assert answer.digest == pipeline.pins(PRODUCTION)["model"]["digest"]
    report.add("Requests", f"- a fresh pod without MLflow and Postgres, from S3 by its pins: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
    for name in ("mlflow", "postgres"):
        pipeline.wait_settled(name)
    assert all(settled(app) for app in pipeline.applications())


@contextlib.contextmanager
def _away(pipeline: Pipeline, name: str, workload: str) -> Iterator[None]:
    """Scale a part to zero until the block ends, without its automated syncs, which would bring it back."""
    automated = pipeline.application(name)["spec"]["syncPolicy"]["automated"]
    _automate(pipeline, name, None)
    try:
        pipeline.kube.run("scale", workload, "-n", PLATFORM, "--replicas=0")
        pipeline.kube.wait_rolled_out(PLATFORM, workload)
        yield
    finally:
        _automate(pipeline, name, automated)


def _automate(pipeline: Pipeline, name: str, automated: dict[str, object] | None) -> None:
    patch = {"spec": {"syncPolicy": {"automated": automated}}}
    pipeline.kube.run("patch", APPLICATIONS, name, "-n", "argocd", "--type=merge", "-p", json.dumps(patch))
