"""`pytest --cpu`: the processor time that tests take, with all that they start, by file.

Time on a clock says little on a busy machine, and nothing of what other workers have left to do. Counted are the worker
and everything below it: the servers that it keeps count for the tests during which they work.
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
    """Notes with each report how much was used since the one before."""

    def __init__(self) -> None:
        self._before = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the seconds to the report, which is how they get out of a worker."""
        report = yield
        now = spent()
        report.user_properties.append((_PROPERTY, now - self._before))
        self._before = now
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the files that take most."""
        reports = [report for kind in terminalreporter.stats.values() for report in kind]
        files = by_file([report for report in reports if isinstance(report, pytest.TestReport)])
        terminalreporter.section("processor time")
        terminalreporter.write_line(f"{sum(files.values()):8.1f} s  all tests, without their collection")
        for file, seconds in sorted(files.items(), key=itemgetter(1), reverse=True)[:_SHOWN]:
            terminalreporter.write_line(f"{seconds:8.1f} s  {file}")


def spent() -> float:
    """Return the seconds that this process and all below it have used, those that have ended included."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        # What ends meanwhile is its parent's, and so counted the next time.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def by_file(reports: list[pytest.TestReport]) -> dict[str, float]:
    """Return the seconds of each file."""
    files: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, float):
                files[report.nodeid.partition("::")[0]] += value
    return files
