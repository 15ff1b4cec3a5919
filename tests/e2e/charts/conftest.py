"""One run: the cluster that pytest-helm-charts connects to, its namespaces, and the report at the end.

The tests are the steps of one story and run in file order.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest
from pytest_helm_charts.clusters import Cluster  # type: ignore[import-untyped]  # it has no types

from tests.e2e.charts.stack import Stack, create
from tests.e2e.images import Images, pushed_images
from tests.e2e.kube import CommandError, Kube, together
from tests.e2e.story import Story, begin, connect, kube_of, report

__all__ = ["report"]  # a fixture


def pytest_configure(config: pytest.Config) -> None:
    """Begin the story."""
    begin(config, Story("The charts on a real cluster", "charts-report.md", {"test_1_platform", "test_2_models"}))


@pytest.fixture(scope="session")
def kube_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Yield pytest-helm-charts' connection to the cluster, for the session instead of one module."""
    cluster = connect(pytestconfig)
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def images() -> Images:
    """Return the pushed images, by digest."""
    return pushed_images()


@pytest.fixture(scope="session")
def stack(kube_cluster: Cluster, images: Images) -> Iterator[Stack]:
    """Yield new namespaces. They are removed at the end, also after a failure, except with E2E_KEEP=1."""
    kube = kube_of(kube_cluster)
    kinds = kube.run("api-resources", "--api-group=monitoring.coreos.com", "-o", "name")
    stack = create(kube, images, monitors="prometheusrules" in kinds)
    try:
        yield stack
    finally:
        if os.environ.get("E2E_KEEP") != "1":
            together(*(lambda name=name: _remove(kube, name) for name in stack.namespaces))


def _remove(kube: Kube, namespace: str) -> None:
    """Delete a namespace. Its pods are killed first, so that nothing waits for their orderly end."""
    with contextlib.suppress(CommandError):
        kube.run("delete", "statefulset,deployment,job,cronjob", "-n", namespace, "--all", "--wait=false")
        kube.run("delete", "pod", "-n", namespace, "--all", "--grace-period=1", "--wait=false")
    kube.run("delete", "namespace", namespace, "--timeout=150s", seconds=160)
