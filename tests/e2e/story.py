"""A suite whose tests are the steps of one story: its cluster, and the report at the end."""

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
    """A pytest plugin that records each step with its time, and prints and writes the report at the end."""

    def __init__(self, title: str, file: str, foundations: Collection[str] = ()) -> None:
        """Begin the report.

        Args:
            title: Its heading.
            file: Its file name in `REPORTS`.
            foundations: Modules that all later steps need, so a failure in them ends the run.
        """
        self.report = Report(title)
        self._file = REPORTS / file
        self._foundations = foundations

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Record each step with its time, and end the run if no later step could pass."""
        result = yield
        if call.when == "call" or result.outcome != "passed":
            name = item.name.removeprefix("test_").replace("_", " ")
            self.report.steps.append(Step(name, result.outcome, result.duration))
        if result.failed and item.path.stem in self._foundations:
            item.session.shouldfail = f"{item.name} failed, and all later steps need it"
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report and write it to a file, if it has content."""
        if not self.report.steps:
            return
        self.report.write(self._file)
        terminalreporter.section("report")
        terminalreporter.write(self.report.text())
        terminalreporter.write_line(f"written to {self._file}")


_STORY = pytest.StashKey[Story]()


def begin(config: pytest.Config, story: Story, *, step_seconds: float | None = None) -> None:
    """Make a run of pytest a story.

    Args:
        config: The configuration of the run.
        story: The story with its title and report.
        step_seconds: Time for each step on a slow cluster, if the tests do not set it. Waits have their own limits.
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
    """Return the report that this run prints at the end."""
    return pytestconfig.stash[_STORY].report


def connect(config: pytest.Config) -> ExistingCluster:
    """Return pytest-helm-charts' connection to a cluster, by `--kubeconfig` or KUBECONFIG. End the run without one."""
    kubeconfig = config.getoption("kubeconfig", None) or os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.exit("Name a cluster: set KUBECONFIG, or pass --kubeconfig.", returncode=2)
    cluster = ExistingCluster(str(Path(kubeconfig).resolve()))
    cluster.create()
    return cluster


def kube_of(cluster: ExistingCluster) -> Kube:
    """Return kubectl for that cluster. End the run if kubectl or Helm 4 is missing."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            pytest.exit(f"{program} is not on PATH.", returncode=2)
    helm = run_program(["helm", "version", "--template", "{{.Version}}"])
    if not helm.startswith("v4."):
        pytest.exit(f"Helm 4 is needed, and helm on PATH is {helm}.", returncode=2)
    return Kube(str(cluster.kube_config_path))
