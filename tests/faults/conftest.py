"""A real serving process, callers that check whether they are served, and the printed matrix."""

import contextlib
import resource
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from embedded.processes import LOOPBACK, NOBODY, Server
from services.serving.tests.bundles import write_bundle
from tests.faults.matrix import MARK, row_of
from tests.integration.conftest import mlflow_proxied, s3  # noqa: F401  (fixtures)
from tests.integration.serving_fixtures import Callers, served, wait_for

_LINE = "line of the matrix"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}(row): the fault that a test causes, and the expected result")
    # The tests keep more than a thousand connections open, and so does the server, which inherits the limit.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix, from whichever process ran its tests."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [line for report in reports for name, line in report.user_properties if name == _LINE]
    if lines:
        terminalreporter.section("fault x expected x seen")
        for line in lines:
            terminalreporter.write_line(str(line))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    row = row_of(item)
    if row and report.when == "call":
        outcome = "as expected" if report.passed else "NOT AS EXPECTED"
        notes = ", ".join(f"{name} {value}" for name, value in item.user_properties)
        line = f"| {row.fault} | {row.expected} | {outcome}{': ' + notes if notes else ''} |"
        report.user_properties.append((_LINE, line))
    return report


Note = Callable[[str, Any], None]


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Return a function that adds a figure to the matrix."""
    return record_property


class Target(msgspec.Struct, frozen=True):
    """A serving process, and what can be observed from outside."""

    server: Server
    client: httpx.Client

    def connect(self) -> socket.socket:
        """Open a connection, without sending anything."""
        port = httpx.URL(self.server.url).port
        return socket.create_connection((LOOPBACK, port or 80), timeout=30)

    def resident_mb(self) -> float:
        """Return the resident memory of the process in MB."""
        return float(psutil.Process(self.server.pid).memory_info().rss) / 1e6

    def count(self, metric: str) -> float:
        """Return the sum of a metric's series."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric))


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return settings that serve a model from a folder, without another server."""
    folder = tmp_path_factory.mktemp("pinned")
    return {
        "MODEL_VERSION": "1",
        "MODEL_URI": folder.as_uri(),
        "MODEL_DIGEST": write_bundle(folder),
        "MLFLOW_TRACKING_URI": NOBODY,
    }


@contextlib.contextmanager
def target(folder: Path, settings: dict[str, str]) -> Iterator[Target]:
    """Start a process, and yield it when it is ready."""
    with served(folder, settings) as (server, client):
        yield Target(server, client)


@pytest.fixture(scope="module")
def plain(pinned: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Start a process with default limits."""
    with target(tmp_path_factory.mktemp("plain"), pinned) as started:
        yield started


@contextlib.contextmanager
def others_are_served(started: Target, note: Note, least: int = 20) -> Iterator[Callers]:
    """Let two callers send requests without a break during the block. None of their requests may fail."""
    with Callers(started.server.url, count=2) as callers:
        wait_for(lambda: len(callers.versions) >= least)
        yield callers
        answered = len(callers.versions)
        wait_for(lambda: len(callers.versions) >= answered + least)
    assert callers.failures == []
    note("others answered", len(callers.versions))
