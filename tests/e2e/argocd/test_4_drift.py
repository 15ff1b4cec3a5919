"""Argo CD reverts changes by hand in the cluster to what git says, but not those of the autoscaler."""

import time

from tests.e2e.argocd.pipeline import Pipeline, settled
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.report import Report


def test_a_deleted_deployment_comes_back(pipeline: Pipeline, report: Report) -> None:
    before = _uid(pipeline)
    pipeline.kube.delete(STAGING.namespace, "deployment", STAGING.name)
    started = time.monotonic()
    pipeline.kube.wait(
        "the Deployment is back", lambda: _uid(pipeline) not in ("", before), seconds=90, namespace=STAGING.namespace
    )
    report.add("Drift", f"- a deleted Deployment was back after {time.monotonic() - started:.0f} s")
    pipeline.wait_settled(STAGING.application)


def _uid(pipeline: Pipeline) -> str:
    return pipeline.kube.run(
        "get",
        "deployment",
        STAGING.name,
        "-n",
        STAGING.namespace,
        "-o",
        "jsonpath={.metadata.uid}",
        "--ignore-not-found",
    )


def test_a_deployment_scaled_by_hand_is_scaled_back(pipeline: Pipeline, report: Report) -> None:
    pipeline.kube.run("scale", f"deployment/{STAGING.name}", "-n", STAGING.namespace, "--replicas=0")
    started = time.monotonic()
    pipeline.kube.wait(
        "staging has its pod again", lambda: pipeline.ready_names(STAGING), seconds=90, namespace=STAGING.namespace
    )
    report.add("Drift", f"- a Deployment scaled away served again after {time.monotonic() - started:.0f} s")
    pipeline.kube.run("scale", f"deployment/{PRODUCTION.name}", "-n", PRODUCTION.namespace, "--replicas=1")
    pipeline.kube.wait(
        "production has two pods again",
        lambda: len(pipeline.ready_names(PRODUCTION)) >= 2,
        seconds=120,
        namespace=PRODUCTION.namespace,
    )


def test_an_edited_config_map_is_corrected(pipeline: Pipeline, report: Report) -> None:
    labels = {"app.kubernetes.io/name": "model-serving", "app.kubernetes.io/instance": STAGING.name}
    name = pipeline.kube.items(STAGING.namespace, "configmaps", labels)[0]["metadata"]["name"]

    def level() -> str:
        return pipeline.kube.run("get", "configmap", name, "-n", STAGING.namespace, "-o", "jsonpath={.data.LOG_LEVEL}")

    before = level()
    assert before
    pipeline.kube.run("patch", "configmap", name, "-n", STAGING.namespace, "-p", '{"data": {"LOG_LEVEL": "debug"}}')
    started = time.monotonic()
    pipeline.kube.wait("the ConfigMap is corrected", lambda: level() == before, seconds=90, namespace=STAGING.namespace)
    report.add("Drift", f"- an edited ConfigMap was corrected after {time.monotonic() - started:.0f} s")
    pipeline.wait_settled(STAGING.application)


def test_the_autoscaler_is_left_alone(pipeline: Pipeline, report: Report) -> None:
    finished = pipeline.application(PRODUCTION.application)["status"]["operationState"]["finishedAt"]
    states: list[tuple[int, str]] = []

    def look() -> int:
        app = pipeline.application(PRODUCTION.application)
        states.append((len(pipeline.ready_names(PRODUCTION)), app["status"]["sync"]["status"]))
        return states[-1][0]

    with pipeline.load(PRODUCTION, rate=0) as results:
        pipeline.kube.wait("a third pod", lambda: look() >= 3, seconds=180, namespace=PRODUCTION.namespace)
    pipeline.kube.wait("two pods again", lambda: look() <= 2, seconds=240, namespace=PRODUCTION.namespace)
    pipeline.wait_settled(PRODUCTION.application)
    app = pipeline.application(PRODUCTION.application)
    assert app["status"]["operationState"]["finishedAt"] == finished, "Argo CD reverted what the autoscaler did"
    assert {sync for _, sync in states} == {"Synced"}
    assert settled(app)
    numbers = [pods for pods, _ in states]
    seen = [pods for pods, before in zip(numbers, [0, *numbers], strict=False) if pods != before]
    report.add("Drift", f"- pods while the autoscaler worked: {' -> '.join(map(str, seen))}, Synced all along")
    report.add("Requests", f"- while the autoscaler worked, as fast as they were answered: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
