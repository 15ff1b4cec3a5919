"""What holds for every test: its environment, no skip that is not listed, which worker takes it, and a summary.

What a test records as the property `summary` is printed when all is done, from whichever process it ran in.
"""

import gc
import os
from collections.abc import Generator, Iterator
from functools import cache
from typing import Any, TypeVar

import hypothesis
import pytest

from tests.support import helm, quick, skips
from tests.support.cpu import CpuTimes
from tests.support.once import made_once

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

# Go's programs here are short-lived or small: what they spend on collecting garbage is better spent on tests.
os.environ |= {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
# Workers share the cores as it is; threads that wait for each other on busy ones make everything slow.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Git looks after each commit and fetch whether there is something to tidy up: a process more, and here there never is.
_GIVEN = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
os.environ |= {f"GIT_CONFIG_KEY_{_GIVEN}": "maintenance.auto", f"GIT_CONFIG_VALUE_{_GIVEN}": "false"}
os.environ["GIT_CONFIG_COUNT"] = str(_GIVEN + 1)
# What tests import stays. To look for garbage among it, over and over while it loads, is a seventh of that time.
gc.disable()
# How long an example takes depends on what else the machine does, so no test asserts it.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer --quick and --cpu."""
    parser.addoption("--quick", action="store_true", help="leave out tests that take seconds each")
    parser.addoption("--cpu", action="store_true", help="say which files take how much processor time")


def pytest_configure(config: pytest.Config) -> None:
    """Measure, where that was asked for."""
    if config.getoption("cpu"):
        config.pluginmanager.register(CpuTimes())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, where that was asked for."""
    if config.getoption("quick"):
        quick.leave_out_slow(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage again once tests are loaded, but not among what was loaded until then."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _environment_kept() -> Iterator[None]:
    """What a test leaves in the environment, as MLflow does with the address that it is given, no other test finds."""
    before = dict(os.environ)
    yield
    # pytest's own, which differs from step to step.
    before["PYTEST_CURRENT_TEST"] = os.environ["PYTEST_CURRENT_TEST"]
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _rendered_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The workers of a run keep for each other what Helm has rendered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(helm.RENDERED, str(made_once(tmp_path_factory, "rendered", lambda _: None)))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by units, unless --dist asks for something else."""
    if config.getoption("dist") != "load":
        return None
    from tests.support.units import UnitScheduling  # noqa: PLC0415  only what hands tests out needs it

    return UnitScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped and not listed."""
    report = yield
    return _unless_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped and not listed."""
    report = yield
    return _unless_skipped(report)


def _unless_skipped(report: _Report) -> _Report:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if not skips.allowed(report.nodeid, reason, _skips()):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: {reason}\nNo skip passes that tests/{skips.FILE.name} does not list."
    return report


_skips = cache(skips.read)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sentences that passed tests recorded, each under the name of its test."""
    for report in terminalreporter.getreports("passed"):
        for name, sentence in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {sentence}")
