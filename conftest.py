"""The set-up of all tests: environment, skips, distribution to workers, and a summary.

A property `summary` that a test records is printed at the end of the run, from whichever process it ran in.
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

# Go programs in the tests are short-lived or small, so garbage collection would only cost time.
os.environ |= {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
# The workers already use all cores, and threads that wait for each other on busy cores slow everything down.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Git checks after each commit and fetch whether maintenance is due. It would start a process each time, for nothing.
_GIVEN = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
os.environ |= {f"GIT_CONFIG_KEY_{_GIVEN}": "maintenance.auto", f"GIT_CONFIG_VALUE_{_GIVEN}": "false"}
os.environ["GIT_CONFIG_COUNT"] = str(_GIVEN + 1)
# Tests keep what they import. Garbage collection during imports finds nothing, and takes a seventh of their time.
gc.disable()
# The time of an example depends on the machine's load, so no test asserts it.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options --quick and --cpu."""
    parser.addoption("--quick", action="store_true", help="leave out tests that take seconds each")
    parser.addoption("--cpu", action="store_true", help="print the CPU time of each file")


def pytest_configure(config: pytest.Config) -> None:
    """Measure CPU times, with --cpu."""
    if config.getoption("cpu"):
        config.pluginmanager.register(CpuTimes())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests, with --quick."""
    if config.getoption("quick"):
        quick.leave_out_slow(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Turn garbage collection on again after tests are loaded, and exclude everything loaded until then."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _environment_kept() -> Iterator[None]:
    """Restore the environment after each test: MLflow, for example, writes its address to it."""
    before = dict(os.environ)
    yield
    # pytest's own variable, which differs between the phases of a test.
    before["PYTEST_CURRENT_TEST"] = os.environ["PYTEST_CURRENT_TEST"]
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _rendered_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Share what Helm has rendered between the workers of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(helm.RENDERED, str(made_once(tmp_path_factory, "rendered", lambda _: None)))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by units, unless --dist says otherwise."""
    if config.getoption("dist") != "load":
        return None
    from tests.support.units import UnitScheduling  # noqa: PLC0415  (needed only to distribute tests)

    return UnitScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped without being listed."""
    report = yield
    return _unless_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped without being listed."""
    report = yield
    return _unless_skipped(report)


def _unless_skipped(report: _Report) -> _Report:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if not skips.allowed(report.nodeid, reason, _skips()):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: {reason}\nA skip must be listed in tests/{skips.FILE.name}."
    return report


_skips = cache(skips.read)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sentences that passed tests recorded, each under the name of its test."""
    for report in terminalreporter.getreports("passed"):
        for name, sentence in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {sentence}")
