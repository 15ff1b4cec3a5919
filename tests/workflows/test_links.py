"""Proves that every link inside the repository leads somewhere, and that the check finds the ones that do not."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from checks.links import anchors, ask, broken, main, misnamed, tracked, unreachable
from tests.workflows.workflow import ROOT


def test_every_link_leads_somewhere() -> None:
    files = tracked(ROOT)
    assert Path("README.md") in files
    assert list(broken(ROOT, files)) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text(
        "# A *heading*, of `mine`\n\n```sh\n# no heading\n```\n\n## Twice\n\n## Twice\n"
    )
    (tmp_path / "README.md").write_text(
        "[good](docs/there.md#a-heading-of-mine) [second](docs/there.md#twice-1) [self](#here) [folder](docs)\n"
        "[gone](docs/gone.md) [no heading](docs/there.md#no-heading) [root](/docs/there.md) [![image](x.svg)](docs)\n"
        '`[code](docs/code.md)` [titled](docs/gone.txt "title")\n\n[reference]: docs/gone-too.md\n\n# Here\n'
        "```\n[fenced](docs/fenced.md)\n```\n"
    )
    found = sorted(line.split()[1] for line in broken(tmp_path, [Path("README.md")]))
    assert found == ["docs/gone-too.md", "docs/gone.md", "docs/gone.txt", "docs/there.md#no-heading"]


def test_every_page_that_code_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().err


def test_pages_that_code_names_wrongly_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text("# Here\n")
    (tmp_path / "code.py").write_text(
        '"""As docs/there.md and docs/there.md#here say."""\n# docs/gone.md, docs/there.md#gone\n'
        "# https://example.org/docs/elsewhere.md\n"
    )
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    found = list(misnamed(tmp_path, [Path("code.py"), Path("picture.png"), Path("docs/there.md")]))
    assert found == [
        "code.py: docs/gone.md does not exist",
        "code.py: docs/there.md#gone is not a heading of there.md",
    ]


def test_anchors_are_githubs() -> None:
    text = "# What `tools/x` does: a list, an end?\n## [Linked](there) words\n## Under_scores & dashes - both\n"
    assert anchors(text) == {"what-toolsx-does-a-list-an-end", "linked-words", "under_scores--dashes---both"}


class Answers(BaseHTTPRequestHandler):
    """Answers with the status in the path. The first request of a path under /once gets 503."""

    asked: set[str]

    def do_GET(self) -> None:
        first = self.path not in self.asked
        self.asked.add(self.path)
        self.send_response(503 if first and self.path.startswith("/once") else int(self.path.rpartition("/")[2]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the method that this replaces
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    handler = type("Fresh", (Answers,), {"asked": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_addresses_are_checked(server: str) -> None:
    assert ask(f"{server}/200") is None
    assert ask(f"{server}/404") == "answers 404"
    assert ask(f"{server}/500") == "answers 500"
    assert ask(f"{server}/once/200") is None
    # The server refuses programs, or so many requests, but it is there.
    assert ask(f"{server}/403") is None
    assert ask(f"{server}/429") is None
    assert "does not answer" in str(ask("http://127.0.0.1:1/"))


def test_local_addresses_and_placeholders_are_not_checked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "[a](https://one.test/x) [b](http://localhost:8080) [c](https://github.com/OWNER/NAME) [d](docs/x.md) "
        "[e](https://api.example.com/x) [f](https://one.test/x)"
    )
    assert list(unreachable(tmp_path, [Path("README.md")], lambda address: "asked")) == [
        "README.md: https://one.test/x: asked"
    ]
