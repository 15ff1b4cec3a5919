"""A stand-in for the pull request part of GitHub's REST API, on top of a bare repository.

Refusals have GitHub's own status codes and messages. `faults` are answers to send before the usual one.
"""

import json
import re
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from services.gitops.tests.conftest import git, moves
from services.gitops.tests.web import AnyMethod, listening

TOKEN = "ghs_of-the-tests"
SLUG = "acme/pipeline"
# The number of GitHub Actions as an App on this server.
ACTIONS_APP = 12


class Answer(NamedTuple):
    """An answer: status, headers and content."""

    status: int
    content: object = None
    headers: Mapping[str, str] = {}


FORBIDDEN = Answer(403, {"message": "Resource not accessible by integration"})


class Settings:
    """The repository's settings; `written` has the requests that changed them."""

    def __init__(self) -> None:
        self.rulesets: list[dict[str, Any]] = []
        self.hooks: list[dict[str, Any]] = []
        self.written: list[tuple[str, Mapping[str, Any]]] = []
        self.policies: list[dict[str, Any]] = []
        self.administers = True
        self.auto_merges = False

    def answer(self, method: str, below: str, content: Mapping[str, Any]) -> Answer:
        if (method, below) == ("GET", ""):
            return Answer(200, {"permissions": {"push": True, "admin": self.administers}})
        if below == "/rules/branches/main":
            return Answer(200, [rule for each in self.rulesets if each["target"] == "branch" for rule in each["rules"]])
        if not self.administers:
            return FORBIDDEN
        return self._shown(below) if method == "GET" else self._changed(method, below, content)

    def _shown(self, below: str) -> Answer:
        if below.endswith("/deployment-branch-policies"):
            return Answer(200, {"branch_policies": self.policies})
        found: dict[str, list[dict[str, Any]]] = {"/hooks": self.hooks, "/rulesets": self.rulesets}
        return Answer(200, found[below]) if below in found else Answer(404, {"message": "Not Found"})

    def _changed(self, method: str, below: str, content: Mapping[str, Any]) -> Answer:
        known = (
            r"|/rulesets(/\d+)?|/environments/\w+(/deployment-branch-policies(/\d+)?)?|/actions/permissions/workflow"
        )
        if not re.fullmatch(known, below):
            return Answer(404, {"message": "Not Found"})
        self.written.append((f"{method} {below}", content))
        self.auto_merges = content.get("allow_auto_merge", self.auto_merges)
        if below == "/rulesets":
            self.rulesets.append({**content, "id": len(self.rulesets) + 7})
        elif below.endswith("/deployment-branch-policies"):
            self.policies.append({**content, "id": len(self.written)})
        elif "/deployment-branch-policies/" in below:
            self.policies = [each for each in self.policies if str(each["id"]) != below.rpartition("/")[2]]
        elif below.startswith("/rulesets/"):
            self.rulesets[int(below.rpartition("/")[2]) - 7].update(content)
        return Answer(204)


class GitHub:
    """The pull requests of one repository. Tests may read and change the state while it runs."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        self.url = ""
        self.token = TOKEN
        self.reads_alone = False
        self.pulls: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.reviews: list[tuple[int, str, str]] = []
        self.runs: list[tuple[str, str, str | None]] = []
        self.dispatched: list[tuple[str, Mapping[str, str]]] = []
        self.settings = Settings()
        self.requests: list[str] = []
        self.faults: list[Answer] = []
        self.before: Callable[[str], None] = lambda _request: None

    def refusal(self, method: str, headers: Mapping[str, str]) -> Answer | None:
        if headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, {"message": "Bad credentials"})
        return FORBIDDEN if self.reads_alone and method != "GET" else None

    def opened(self) -> list[dict[str, Any]]:
        return [pull for pull in self.pulls if pull["state"] == "open"]

    def open(self, head: str, title: str = "", body: str = "") -> dict[str, Any]:
        number = len(self.pulls) + 1
        self.pulls.append(
            {
                "number": number,
                "node_id": f"PR_{number}",
                "html_url": f"{self.url}/{SLUG}/pull/{number}",
                "state": "open",
                "title": title,
                "body": body,
                "labels": [],
                "head": {"ref": head},
                "base": {"ref": "main"},
            }
        )
        return self.shown(self.pulls[-1])

    def shown(self, pull: dict[str, Any]) -> dict[str, Any]:
        """Return a pull request with the present state of its branch."""
        head = pull["head"]["ref"]
        sha = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{head}")
        clean = not sha or self._merges(sha)
        return {**pull, "head": {"ref": head, "sha": sha}, "mergeable_state": "clean" if clean else "dirty"}

    def _merges(self, sha: str) -> bool:
        command = ["git", "merge-tree", "--write-tree", "main", sha]
        return subprocess.run(command, cwd=self.bare, capture_output=True, check=False).returncode == 0

    def answer(self, method: str, path: str, query: Mapping[str, str], content: Mapping[str, Any]) -> Answer:
        if not path.startswith(f"/repos/{SLUG}"):
            # GitHub refuses /user to the token of an App.
            outside = {"/user": FORBIDDEN, "/apps/github-actions": Answer(200, {"id": ACTIONS_APP})}
            merging = self._auto_merge(content["variables"]) if path == "/graphql" else None
            return merging or outside.get(path, Answer(404, {"message": "Not Found"}))
        below = path.removeprefix(f"/repos/{SLUG}")
        if below == "/pulls":
            return self._create(content) if method == "POST" else Answer(200, self._found(query.get("head", "")))
        if match := re.fullmatch(r"/(pulls|issues)/(\d+)(/\w+)?", below):
            return self._pull(method, int(match[2]), match[3] or "", content)
        if match := re.fullmatch(r"/commits/(\w+)/(check-runs|status)", below):
            runs = [
                {"name": name, "status": "completed" if conclusion else "in_progress", "conclusion": conclusion}
                for sha, name, conclusion in self.runs
                if sha == match[1]
            ]
            return Answer(200, {"check_runs": runs} if match[2] == "check-runs" else {"statuses": []})
        if match := re.fullmatch(r"/actions/workflows/(\w+).yml/dispatches", below):
            self.dispatched.append((match[1], content["inputs"]))
            return Answer(204)
        return self._moved(below, query) or self.settings.answer(method, below, content)

    def _moved(self, below: str, query: Mapping[str, str]) -> Answer | None:
        if (below, query.get("ref")) != ("/activity", "refs/heads/main"):
            return None
        return Answer(200, [{"after": head, "timestamp": f"{when:%FT%TZ}"} for head, when in moves(self.bare)])

    def _auto_merge(self, variables: Mapping[str, str]) -> Answer:
        pull = next(pull for pull in self.pulls if pull["node_id"] == variables["pull"])
        required = [rule for each in self.settings.rulesets for rule in each["rules"] if "checks" in rule["type"]]
        why = ""
        if not self.settings.auto_merges:
            why = "Auto merge is not allowed for this repository"
        elif not required:
            why = "Pull request is in clean status"
        elif variables["head"] != self.shown(pull)["head"]["sha"]:
            why = "The head of the pull request has been modified"
        if why:
            return Answer(200, {"data": None, "errors": [{"type": "UNPROCESSABLE", "message": why}]})
        pull["auto_merge"] = {"merge_method": variables["method"].lower()}
        return Answer(200, {"data": {"enablePullRequestAutoMerge": {"clientMutationId": None}}})

    def _found(self, head: str) -> list[dict[str, Any]]:
        owner, _, branch = head.partition(":")
        return [
            self.shown(pull) for pull in self.opened() if not head or (owner, branch) == ("acme", pull["head"]["ref"])
        ]

    def _pull(self, method: str, number: int, what: str, content: Mapping[str, Any]) -> Answer:
        pull = self.pulls[number - 1]
        if what == "/labels":
            pull["labels"] += [{"name": name} for name in content["labels"]]
        elif what == "/comments" and method == "POST":
            self.comments.append((number, content["body"]))
            return Answer(201, {"id": 1})
        elif what == "/comments":
            return Answer(200, [{"body": text} for of, text in self.comments if of == number])
        elif what == "/reviews":
            found = [(who, say) for of, who, say in self.reviews if of == number]
            return Answer(200, [{"user": {"login": who}, "state": say} for who, say in found])
        elif method == "PATCH":
            pull.update(content)
        return Answer(200, self.shown(pull))

    def _create(self, content: Mapping[str, Any]) -> Answer:
        head = content["head"]
        if head == content["base"]:
            return invalid(f"No commits between {head} and {head}")
        if any(pull["head"]["ref"] == head for pull in self.opened()):
            return invalid(f"A pull request already exists for acme:{head}.")
        if not git(self.bare, "for-each-ref", f"refs/heads/{head}"):
            return Answer(422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]})
        if not git(self.bare, "rev-list", f"main..{head}"):
            return invalid(f"No commits between main and {head}")
        return Answer(201, self.open(head, content["title"], content["body"]))


def invalid(why: str) -> Answer:
    return Answer(422, {"message": "Validation Failed", "errors": [{"resource": "PullRequest", "message": why}]})


class Hub(Protocol):
    """A stand-in for a forge."""

    url: str
    requests: list[str]
    faults: list[Answer]
    before: Callable[[str], None]

    def refusal(self, method: str, headers: Mapping[str, str]) -> Answer | None:
        """Return the answer to someone without access."""

    def answer(self, method: str, path: str, query: Mapping[str, str], content: Mapping[str, Any]) -> Answer:
        """Return the answer to someone with access."""


AnyHub = TypeVar("AnyHub", bound=Hub)


@contextmanager
def serving(hub: AnyHub) -> Iterator[AnyHub]:
    """Serve it at `url` inside the block."""

    class Handler(AnyMethod):
        def answer_it(self) -> None:
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("content-length") or 0)
            content = json.loads(self.rfile.read(length) or b"{}")
            hub.requests.append(f"{self.command} {path}")
            hub.before(hub.requests[-1])
            answer = hub.faults.pop(0) if hub.faults else None
            if answer is None:
                answer = hub.refusal(self.command, {name.lower(): value for name, value in self.headers.items()})
            answer = answer or hub.answer(self.command, path, dict(urllib.parse.parse_qsl(query)), content)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(json.dumps(answer.content).encode())

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub
