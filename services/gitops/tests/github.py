"""A server that answers as GitHub's REST API does where pull requests are concerned, on top of a bare repository.

What it refuses, it refuses with GitHub's own status codes and messages. `faults` are answers that come before that.
"""

import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from services.gitops.tests.conftest import git

TOKEN = "ghs_of-the-tests"
SLUG = "acme/pipeline"


class Answer(NamedTuple):
    """One answer: status, headers and what is in it."""

    status: int
    content: object = None
    headers: Mapping[str, str] = {}


class GitHub:
    """The pull requests of one repository. Its state may be looked at and changed while it runs."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        self.url = ""
        self.pulls: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.requests: list[str] = []
        self.faults: list[Answer] = []
        self.before: Callable[[str], None] = lambda _request: None

    def opened(self) -> list[dict[str, Any]]:
        return [pull for pull in self.pulls if pull["state"] == "open"]

    def open(self, head: str, title: str = "", body: str = "") -> dict[str, Any]:
        number = len(self.pulls) + 1
        self.pulls.append(
            {
                "number": number,
                "html_url": f"{self.url}/{SLUG}/pull/{number}",
                "state": "open",
                "title": title,
                "body": body,
                "head": {"ref": head},
                "base": {"ref": "main"},
            }
        )
        return self.pulls[-1]

    def answer(self, method: str, path: str, query: Mapping[str, str], content: Mapping[str, Any]) -> Answer:
        if method == "GET" and path == f"/repos/{SLUG}/pulls":
            owner, _, branch = query["head"].partition(":")
            found = [pull for pull in self.opened() if (owner, branch) == ("acme", pull["head"]["ref"])]
            return Answer(200, found)
        if method == "POST" and path == f"/repos/{SLUG}/pulls":
            return self._create(content)
        if match := re.fullmatch(rf"/repos/{SLUG}/(pulls|issues)/(\d+)(/comments)?", path):
            number = int(match[2])
            if match[3]:
                self.comments.append((number, content["body"]))
                return Answer(201, {"id": 1})
            self.pulls[number - 1].update(content)
            return Answer(200, self.pulls[number - 1])
        return Answer(404, {"message": "Not Found"})

    def _create(self, content: Mapping[str, Any]) -> Answer:
        head = content["head"]
        if any(pull["head"]["ref"] == head for pull in self.opened()):
            return invalid(f"A pull request already exists for acme:{head}.")
        if not git(self.bare, "for-each-ref", f"refs/heads/{head}"):
            return Answer(422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]})
        if not git(self.bare, "rev-list", f"main..{head}"):
            return invalid(f"No commits between main and {head}")
        return Answer(201, self.open(head, content["title"], content["body"]))


def invalid(why: str) -> Answer:
    return Answer(422, {"message": "Validation Failed", "errors": [{"resource": "PullRequest", "message": why}]})


@contextmanager
def serving(hub: GitHub) -> Iterator[GitHub]:
    """Have it answer at `url` inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("content-length") or 0)
            content = json.loads(self.rfile.read(length) or b"{}")
            hub.requests.append(f"{self.command} {path}")
            hub.before(hub.requests[-1])
            answer = hub.faults.pop(0) if hub.faults else None
            if answer is None and self.headers.get("authorization") != f"Bearer {TOKEN}":
                answer = Answer(401, {"message": "Bad credentials"})
            answer = answer or hub.answer(self.command, path, dict(urllib.parse.parse_qsl(query)), content)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(answer.content).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
