"""`pytest --cpu`: the CPU time of each test file, including all processes that its tests start.

On a busy machine, durations say little. The worker and all of its child processes are measured. A server that a worker
keeps counts for the tests that run while it works.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Generator
from operator import itemgetter

import psutil
import pytest

_PROPERTY = "cpu"
_SHOWN = 40


class CpuTimes:
    """Records with each report the CPU time since the one before."""

    def __init__(self) -> None:
        self._before = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the seconds to the report, which is sent from the worker to the main process."""
        report = yield
        now = spent()
        report.user_properties.append((_PROPERTY, now - self._before))
        self._before = now
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the files with the most CPU time."""
        reports = [report for kind in terminalreporter.stats.values() for report in kind]
        files = by_file([report for report in reports if isinstance(report, pytest.TestReport)])
        terminalreporter.section("processor time")
        terminalreporter.write_line(f"{sum(files.values()):8.1f} s  all tests, without their collection")
        for file, seconds in sorted(files.items(), key=itemgetter(1), reverse=True)[:_SHOWN]:
            terminalreporter.write_line(f"{seconds:8.1f} s  {file}")


def spent() -> float:
    """Return the CPU seconds of this process and all of its child processes, including those that ended."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        # A process that ends in the meantime is counted next time, as time of its parent.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def by_file(reports: list[pytest.TestReport]) -> dict[str, float]:
    """Return the CPU seconds of each file."""
    files: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, float):
                files[report.nodeid.partition("::")[0]] += value
    return files
