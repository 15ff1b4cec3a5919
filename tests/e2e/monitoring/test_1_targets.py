"""Every ServiceMonitor of the project has targets that answer Prometheus, and policies keep other callers out."""

from tests.e2e.kube import together
from tests.e2e.monitoring.monitoring import Monitoring, Target
from tests.e2e.monitoring.pipeline import Pipeline
from tests.e2e.pods import Script
from tests.e2e.report import Report

_FOUND_SECONDS = 180
"""The operator writes Prometheus's configuration, the pod sees it up to a minute later, and then it scrapes."""


def test_the_pipeline_comes_up(pipeline: Pipeline) -> None:
    stack = pipeline.stack
    helm = stack.helm

    def platform() -> None:
        together(lambda: helm.install(stack.minio_release()), lambda: helm.install(pipeline.postgres_release()))
        helm.install(stack.mlflow_release())

    together(
        platform,
        lambda: helm.install(pipeline.observability_release()),
        lambda: helm.install(stack.training_release()),
    )
    stack.kube.run_cronjob(stack.platform, "training-iris", "train", seconds=300)
    helm.install(pipeline.serving_release(stack.registry().version("1")))


def test_every_monitor_has_targets_and_all_are_up(
    pipeline: Pipeline, monitoring: Monitoring, callers: Script, report: Report
) -> None:
    monitors = pipeline.monitors()
    expected = {"mlflow", "minio", "serving"} | ({"postgres"} if pipeline.exporter else set())
    assert {monitor.title.partition("/")[2] for monitor in monitors} >= expected

    with monitoring.asked() as prometheus:

        def all_up() -> dict[str, list[Target]] | None:
            active = prometheus.targets()
            found = {
                monitor.title: [target for target in active if target.scrape_pool in monitor.pools]
                for monitor in monitors
            }
            well = all(targets and all(one.health == "up" for one in targets) for targets in found.values())
            return found if well else None

        found = pipeline.stack.kube.wait(
            "every ServiceMonitor has targets, and all are up",
            all_up,
            seconds=_FOUND_SECONDS,
            namespace=pipeline.stack.platform,
            names=("none",),
        )

    rows = [(title, len(targets), "up") for title, targets in sorted(found.items())]
    report.table("Targets of every ServiceMonitor, network policies on", [("ServiceMonitor", "targets", ""), *rows])


def test_the_same_pages_are_closed_to_others(pipeline: Pipeline, report: Report) -> None:
    stack = pipeline.stack
    pages = [
        f"http://mlflow.{stack.platform}:9090/metrics",
        f"http://minio.{stack.platform}:9002/minio/v2/metrics/cluster",
        f"http://serving.{stack.serving}:9090/metrics",
    ]

    reached = together(*(lambda page=page: pipeline.outsider_reaches(page) for page in pages))

    assert not any(reached)
    report.add(
        "Targets of every ServiceMonitor, network policies on", "", "A pod of another namespace reaches none of them."
    )
