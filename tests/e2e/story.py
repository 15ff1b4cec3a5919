"""A suite whose tests are the steps of one story: its cluster, and the report at its end."""

import os
import shutil
from collections.abc import Collection, Generator
from pathlib import Path

import pytest
from pytest_helm_charts.clusters import ExistingCluster  # type: ignore[import-untyped]  # it has no types

from tests.e2e.kube import Kube, run_program
from tests.e2e.report import Report, Step

REPORTS = Path(__file__).resolve().parents[2] / ".cache" / "e2e"


class Story:
    """A pytest plugin that notes each step with its time, and prints and writes the report at the end."""

    def __init__(self, title: str, file: str, foundations: Collection[str] = ()) -> None:
        """Begin the report.

        Args:
            title: Its heading.
            file: Its name among `REPORTS`.
            foundations: Modules after a failure in which nothing that follows could pass.
        """
        self.report = Report(title)
        self._file = REPORTS / file
        self._foundations = foundations

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note each step with its time, and end the run where nothing that follows could pass."""
        result = yield
        if call.when == "call" or result.outcome != "passed":
            name = item.name.removeprefix("test_").replace("_", " ")
            self.report.steps.append(Step(name, result.outcome, result.duration))
        if result.failed and item.path.stem in self._foundations:
            item.session.shouldfail = f"{item.name} failed, and everything else stands on it"
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report, and write it to a file, where there is something to tell."""
        if not self.report.steps:
            return
        self.report.write(self._file)
        terminalreporter.section("report")
        terminalreporter.write(self.report.text())
        terminalreporter.write_line(f"written to {self._file}")


_STORY = pytest.StashKey[Story]()


def begin(config: pytest.Config, story: Story, *, step_seconds: float | None = None) -> None:
    """Have a run of pytest tell a story.

    Args:
        config: The run's.
        story: What it is called, and where its report goes.
        step_seconds: Time for each step on a slow cluster, where not the tests say it themselves. What a step waits for
            has a bound of its own.
    """
    config.stash[_STORY] = story
    config.pluginmanager.register(story)
    if step_seconds:
        config.pluginmanager.register(_Patience(step_seconds))


class _Patience:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            item.add_marker(pytest.mark.timeout(self._seconds))


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """What this run tells at its end."""
    return pytestconfig.stash[_STORY].report


def connect(config: pytest.Config) -> ExistingCluster:
    """Return pytest-helm-charts' connection to a cluster: `--kubeconfig`, or KUBECONFIG; the run ends without one."""
    kubeconfig = config.getoption("kubeconfig", None) or os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.exit("Name a cluster: set KUBECONFIG, or pass --kubeconfig.", returncode=2)
    cluster = ExistingCluster(str(Path(kubeconfig).resolve()))
    cluster.create()
    return cluster


def kube_of(cluster: ExistingCluster) -> Kube:
    """kubectl for that cluster; the run ends where it or Helm 4 is missing."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            pytest.exit(f"{program} is not on PATH.", returncode=2)
    helm = run_program(["helm", "version", "--template", "{{.Version}}"])
    if not helm.startswith("v4."):
        pytest.exit(f"Helm 4 is needed, and helm on PATH is {helm}.", returncode=2)
    return Kube(str(cluster.kube_config_path))
