"""A pytest plugin that records how long each test takes, which one fails first, and which tests run which lines."""

from collections.abc import Generator
from typing import Any

import coverage
import pytest

# Lines that run during the set-up of a shared fixture belong to all of its tests, not to the test that came first.
FIXTURE = "fixture "


class Recorder:
    """The plugin. Times are in seconds, and include a test's own fixtures."""

    def __init__(self, measured: coverage.Coverage | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.fixtures: dict[str, list[str]] = {}
        self.failed: dict[str, None] = {}
        self.collected: list[str] = []
        self._measured = measured
        self._context = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Record the names of the tests."""
        self.collected = [item.nodeid for item in items]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Attribute lines to this test."""
        self.fixtures[item.nodeid] = list(getattr(item, "fixturenames", ()))
        self._switch(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Attribute lines to a fixture that several tests share."""
        before = self._context
        if fixturedef.scope != "function":
            self._switch(f"{FIXTURE}{fixturedef.argname}")
        try:
            return (yield)
        finally:
            self._switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the time and the result of a phase of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed[report.nodeid] = None
        if report.skipped:
            self.seconds.pop(report.nodeid, None)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be loaded."""
        if report.failed:
            self.failed[report.nodeid] = None

    def _switch(self, context: str) -> None:
        if self._measured is not None and context != self._context:
            self._measured.switch_context(context)
        self._context = context
