"""Every installed client gets the answers that it needs, over IPv4 and IPv6; docs/reliability.md lists all clients."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.clients import CLIENTS, EXPECTED, Client

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
FAMILIES = {"IPv4": "127.0.0.1", "IPv6": "[::1]"}


@pytest.mark.timeout(500)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_gets_the_expected_answers(
    port: int, tmp_path: Path, client: Client, family: str, record_property: Callable[[str, object], None]
) -> None:
    if client.missing:
        pytest.skip(f"{client.name}: not installed here: {', '.join(client.missing)}")
    outcomes = list(client.ask(f"http://{FAMILIES[family]}:{port}", tmp_path))
    for name, status, found in outcomes:
        assert (status, found) == EXPECTED[name.removesuffix(" offering h2c")], name
    record_property("clients", f"| {client.name} | {', '.join(name for name, *_ in outcomes)} | {family} |")


def test_the_document_lists_every_client() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Clients\n")[2].partition("\n## ")[0]
    listed = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert listed == [client.name for client in CLIENTS]
