"""One run: the cluster's Prometheus, the charts' releases in separate namespaces, and callers during all tests.

The tests are the steps of one story and run in file order.
"""

import pytest
from pytest_helm_charts.clusters import Cluster  # type: ignore[import-untyped]  # it has no types

from tests.e2e.charts.conftest import images, kube_cluster, stack
from tests.e2e.charts.stack import Stack
from tests.e2e.monitoring.monitoring import Monitoring, find_monitoring
from tests.e2e.monitoring.pipeline import Pipeline, has_argocd, pullable
from tests.e2e.pods import Script
from tests.e2e.report import Report
from tests.e2e.story import Story, begin, kube_of, report

__all__ = ["images", "kube_cluster", "report", "stack"]  # fixtures of the charts' own tests

_STEP_SECONDS = 600


def pytest_configure(config: pytest.Config) -> None:
    """Begin the story."""
    begin(
        config,
        Story("The pipeline, watched, on a real cluster", "monitoring-report.md", {"test_1_targets"}),
        step_seconds=_STEP_SECONDS,
    )


@pytest.fixture(scope="session", autouse=True)
def monitoring(kube_cluster: Cluster) -> Monitoring:
    """Return the cluster's Prometheus and Alertmanager. Runs before anything is made there, and skips without them."""
    found = find_monitoring(kube_of(kube_cluster))
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def pipeline(stack: Stack, report: Report) -> Pipeline:
    """Return the releases, with all monitoring that this cluster can have. The report lists what is left out."""
    pipeline = Pipeline(stack, exporter=pullable(stack), argocd=has_argocd(stack.kube))
    if not pipeline.exporter:
        report.add("Left out", "- Postgres's exporter: the cluster cannot pull its image")
    if not pipeline.argocd:
        report.add("Left out", "- Argo CD's metrics: there is no Argo CD in the namespace `argocd`")
    return pipeline


@pytest.fixture(scope="session")
def callers(pipeline: Pipeline) -> Script:
    """Yield the callers of the API. They run from the first test that uses them until the last one stops them."""
    script = pipeline.callers()
    pipeline.stack.runner.start(script)
    pipeline.stack.runner.wait_running(script)
    return script
