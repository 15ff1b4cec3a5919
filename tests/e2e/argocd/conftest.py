"""One run: a real forge in the cluster, a fork of the working tree on it, and everything that bootstrap makes of it.

The tests are the steps of one story and run in file order. They need the whole cluster, because the namespaces have the
project's own names.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_helm_charts.clusters import Cluster  # type: ignore[import-untyped]  # it has no types

from tests.e2e.argocd import gitea
from tests.e2e.argocd.canaries import Canaries, canaries_of
from tests.e2e.argocd.cluster import left_out, plain_http, require_free, take_away
from tests.e2e.argocd.fork import Fork, make_fork
from tests.e2e.argocd.gitea import Gitea
from tests.e2e.argocd.pipeline import MARK, NAMESPACE, Pipeline
from tests.e2e.images import Images, pushed_images
from tests.e2e.kube import Kube
from tests.e2e.pods import scripts_config_map
from tests.e2e.story import REPORTS, Story, begin, connect, kube_of, report

__all__ = ["report"]  # a fixture

_STEP_SECONDS = 900


def pytest_configure(config: pytest.Config) -> None:
    """Begin the story."""
    begin(
        config,
        Story("Argo CD on a real cluster", "argocd-report.md", {"test_1_first_release"}),
        step_seconds=_STEP_SECONDS,
    )


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
def kube(kube_cluster: Cluster) -> Iterator[Kube]:
    """Yield the cluster with a namespace for the tests and a Gitea. Remove everything at the end, unless E2E_KEEP=1."""
    kube = kube_of(kube_cluster)
    require_free(kube)
    take_away(kube)
    labels = {**MARK, "pod-security.kubernetes.io/enforce": "restricted"}
    kube.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
            scripts_config_map(NAMESPACE),
        ]
    )
    gitea.start(kube, NAMESPACE)
    try:
        yield kube
    finally:
        if os.environ.get("E2E_KEEP") != "1":
            take_away(kube)


@pytest.fixture(scope="session")
def forge(kube: Kube) -> Iterator[Gitea]:
    """Yield the forge with an empty repository, at an address that this machine can reach."""
    with kube.forwarded(NAMESPACE, f"service/{gitea.HOST}", gitea.PORT) as base:
        yield gitea.prepare(kube, NAMESPACE, base)


@pytest.fixture(scope="session")
def fork(kube: Kube, forge: Gitea, tmp_path_factory: pytest.TempPathFactory) -> Fork:
    """Return a fork of the working tree with the forge's repository as its origin. Nothing is pushed yet."""
    log = REPORTS / "argocd-commands.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    folder: Path = tmp_path_factory.mktemp("fork") / "pipeline"
    return make_fork(
        Fork(folder, kube.kubeconfig, log, forge.variables), gitea.address(NAMESPACE), forge.pushed_through
    )


@pytest.fixture(scope="session")
def pipeline(kube: Kube, forge: Gitea, fork: Fork, images: Images) -> Pipeline:
    """Return everything that a test needs."""
    registry = images.serving.repository.removesuffix("/serving")
    # With a letter: a part of a version that has only digits must not begin with 0.
    suffix = f"e2e.r{secrets.token_hex(3)}"
    chart = f"{fork.read('charts/model-serving/Chart.yaml')['version'].partition('-')[0]}-{suffix}"
    return Pipeline(
        kube=kube,
        images=images,
        fork=fork,
        forge=forge,
        registry=registry,
        plain_http=plain_http(registry),
        chart=chart,
        without=left_out(kube, images),
    )


@pytest.fixture(scope="session")
def canary(pipeline: Pipeline) -> Canaries:
    """Return the service whose new versions are released as canaries."""
    return canaries_of(pipeline)
