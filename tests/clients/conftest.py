"""A serving process that listens on IPv4 and IPv6, and the printed matrix."""

from collections.abc import Iterator

import httpx
import pytest

from services.serving.tests.bundles import write_bundle
from tests.integration.serving_fixtures import served


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the results of each client, from whichever process ran it."""
    rows = [
        line
        for report in terminalreporter.getreports("passed")
        for name, line in report.user_properties
        if name == "clients"
    ]
    if rows:
        terminalreporter.section("client x what it asked x family")
        for row in rows:
            terminalreporter.write_line(row)


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a process with HOST=::, and a model."""
    folder = tmp_path_factory.mktemp("clients")
    pin = {
        "MODEL_VERSION": "7",
        "MODEL_URI": (folder / "model").as_uri(),
        "MODEL_DIGEST": write_bundle(folder / "model"),
    }
    with served(folder, {**pin, "HOST": "::", "GZIP_ANSWER_BYTES": "10000"}) as (server, _):
        found = httpx.URL(server.url).port
        assert found
        yield found
