"""One run: the cluster that pytest-helm-charts connects to, the namespaces in it, and the report at the end.

The tests are the steps of one story and run in the order in which they stand.
"""

import contextlib
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
import pytest
from pytest_helm_charts.clusters import Cluster, ExistingCluster  # type: ignore[import-untyped]  # it has no types

from tests.e2e.charts.stack import IMAGES, Images, Stack, create
from tests.e2e.kube import CommandError, Kube, run_program, together
from tests.e2e.report import Report, Step

REPORT = Path(__file__).resolve().parents[3] / ".cache" / "e2e" / "charts-report.md"
FOUNDATIONS = {"test_1_platform", "test_2_models"}
_REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def kube_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """pytest-helm-charts' connection to the cluster (`--kubeconfig`), for the session instead of one module."""
    kubeconfig = pytestconfig.getoption("kubeconfig") or os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.exit("Name a cluster: set KUBECONFIG, or pass --kubeconfig.", returncode=2)
    cluster = ExistingCluster(str(Path(kubeconfig).resolve()))
    cluster.create()
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session")
def images() -> Images:
    """The pushed images, by digest."""
    try:
        return msgspec.json.decode(IMAGES.read_bytes(), type=Images)
    except FileNotFoundError:
        pytest.exit(
            f"{IMAGES} is missing: `make images` builds the images, `tools/push-images` pushes them.", returncode=2
        )


@pytest.fixture(scope="session")
def stack(kube_cluster: Cluster, images: Images) -> Iterator[Stack]:
    """Fresh namespaces, removed at the end with all that is in them, also after a failure (not with E2E_KEEP=1)."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            pytest.exit(f"{program} is not on PATH.", returncode=2)
    helm = run_program(["helm", "version", "--template", "{{.Version}}"])
    if not helm.startswith("v4."):
        pytest.exit(f"Helm 4 is needed, and helm on PATH is {helm}.", returncode=2)
    kube = Kube(str(kube_cluster.kube_config_path))
    kinds = kube.run("api-resources", "--api-group=monitoring.coreos.com", "-o", "name")
    stack = create(kube, images, monitors="prometheusrules" in kinds)
    try:
        yield stack
    finally:
        if os.environ.get("E2E_KEEP") != "1":
            together(*(lambda name=name: _remove(kube, name) for name in stack.namespaces))


def _remove(kube: Kube, namespace: str) -> None:
    """Delete a namespace. Its pods are killed first: nobody waits for their orderly end."""
    with contextlib.suppress(CommandError):
        kube.run("delete", "statefulset,deployment,job,cronjob", "-n", namespace, "--all", "--wait=false")
        kube.run("delete", "pod", "-n", namespace, "--all", "--grace-period=1", "--wait=false")
    kube.run("delete", "namespace", namespace, "--timeout=150s", seconds=160)


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """What this run tells at its end."""
    return pytestconfig.stash[_REPORT]


def pytest_configure(config: pytest.Config) -> None:
    """Begin the report."""
    config.stash[_REPORT] = Report("The charts on a real cluster")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each step with its time, and end the run where nothing that follows could pass."""
    result = yield
    if call.when == "call" or result.outcome != "passed":
        name = item.name.removeprefix("test_").replace("_", " ")
        item.config.stash[_REPORT].steps.append(Step(name, result.outcome, result.duration))
    if result.failed and item.path.stem in FOUNDATIONS:
        item.session.shouldfail = f"{item.name} failed, and everything else stands on it"
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the report, and write it to a file, where there is something to tell."""
    report = config.stash[_REPORT]
    if not report.steps:
        return
    report.write(REPORT)
    terminalreporter.section("report")
    terminalreporter.write(report.text())
    terminalreporter.write_line(f"written to {REPORT}")
