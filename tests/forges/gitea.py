"""The stage on a real Gitea. It reads and does everything through Gitea's API."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from services.gitops.tests.conftest import commit_all, git
from tests.forges.front import Front, front_of
from tests.forges.gitea_server import GiteaServer
from tests.forges.stages import Rights, Seen, Stage, Way

_SECONDS = 20.0
_SCOPES = {"all": ("write:repository", "write:issue", "read:user"), "reading": ("read:repository", "read:issue")}


@contextmanager
def opened(request: pytest.FixtureRequest, clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The stage, on the server of the session."""
    server: GiteaServer = request.getfixturevalue("gitea_server")
    with front_of(server.url) as front:
        yield GiteaStage(server, front, clone, monkeypatch)


class GiteaStage(Stage):
    """A separate repository on a Gitea that all tests share."""

    kind = "gitea"
    below = "/api/v1"

    def __init__(self, server: GiteaServer, front: Front, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(front, clone, monkeypatch)
        self._server = server
        self._owner, self.pusher, self._reviewer = server.user("owner"), server.user("robot"), server.user("ada")
        server.call("POST", f"/admin/users/{self._owner}/repos", {"name": "pipeline", "default_branch": "main"})
        for name, rights in ((self.pusher, "admin"), (self._reviewer, "write")):
            server.call("PUT", f"/repos/{self.slug}/collaborators/{name}", {"permission": rights})
        pushing = server.token(self.pusher, "write:repository")[1]
        place = urlsplit(server.url).netloc
        self.git = f"http://{self.pusher}:{pushing}@{place}/{self.slug}.git"

    def write_alone(self) -> None:
        """Take the administrator's rights from the machine user, as docs/forges.md recommends."""
        self._server.call("PUT", f"/repos/{self.slug}/collaborators/{self.pusher}", {"permission": "write"})

    def set_up(self) -> None:
        super().set_up()
        # Gitea processes a first push in the background, and some requests fail until then.
        until = time.monotonic() + _SECONDS
        while self._ask("GET", "")["empty"] and time.monotonic() < until:
            time.sleep(0.05)

    @property
    def slug(self) -> str:
        return f"{self._owner}/pipeline"

    def token(self, rights: Rights) -> str:
        name, token = self._server.token(self.pusher, *_SCOPES.get(rights, _SCOPES["all"]))
        if rights == "none":
            self._server.forget(self.pusher, name)
        return token

    def pulls(self) -> list[Seen]:
        found = []
        page = 1
        while answer := self._ask("GET", f"/pulls?state=all&sort=oldest&page={page}"):
            found += [_seen(pull) for pull in answer]
            page += 1
        return sorted(found, key=lambda pull: pull.number)

    def comments(self, number: int) -> list[str]:
        return [comment["body"] for comment in self._ask("GET", f"/issues/{number}/comments")]

    def edit(self, number: int, title: str) -> None:
        self._ask("PATCH", f"/pulls/{number}", {"title": title})

    def close(self, number: int) -> None:
        self._ask("PATCH", f"/pulls/{number}", {"state": "closed"})

    def merge(self, number: int, way: Way = "merge") -> None:
        ways = {"allow_merge_commits", "allow_squash_merge", "allow_rebase", "allow_fast_forward_only_merge"}
        self._ask("PATCH", "", dict.fromkeys(ways, True))
        # Gitea first checks for conflicts, in the background.
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            with suppress(AssertionError):
                self._ask("POST", f"/pulls/{number}/merge", {"Do": way})
                return
            time.sleep(0.2)
        self._ask("POST", f"/pulls/{number}/merge", {"Do": way})

    def await_conflict_check(self, number: int) -> None:
        """Wait for Gitea's conflict check. Before it, Gitea never merges a scheduled pull request."""
        until = time.monotonic() + _SECONDS
        while not self._ask("GET", f"/pulls/{number}")["mergeable"] and time.monotonic() < until:
            time.sleep(0.05)

    def propose(self, branch: str) -> None:
        self._ask("POST", "/pulls", {"title": branch, "body": "", "head": branch, "base": "main"})

    def review(self, number: int, *, approve: bool) -> str:
        content = {"event": "APPROVED" if approve else "REQUEST_CHANGES", "body": "seen"}
        self._server.call("POST", f"/repos/{self.slug}/pulls/{number}/reviews", content, login=self._reviewer)
        return self._reviewer

    def report(self, branch: str, check: str, *, passed: bool | None) -> None:
        state = {True: "success", False: "failure", None: "pending"}[passed]
        self._ask("POST", f"/statuses/{self.head(branch)}", {"context": check, "state": state})

    def hook(self, address: str) -> None:
        config = {"url": address, "content_type": "json", "secret": "of-the-tests"}
        self._ask("POST", "/hooks", {"type": "gitea", "config": config, "events": ["push"], "active": True})

    def add_labels(self, *names: str) -> None:
        for name in names:
            self._ask("POST", "/labels", {"name": name, "color": "#00aabb"})

    def labels(self) -> list[str]:
        """Return the labels of the repository. A page has two of them."""
        pages = [self._ask("GET", f"/labels?page={page}") for page in (1, 2, 3)]
        return sorted(label["name"] for page in pages for label in page)

    def add_workflow(self, name: str) -> None:
        self._ask("PATCH", "", {"has_actions": True})
        folder = self.clone / ".gitea/workflows"
        folder.mkdir(parents=True)
        inputs = {"model": {"type": "string", "required": True}}
        jobs = {"only": {"runs-on": "nowhere", "steps": [{"run": "true"}]}}
        content = {"name": name, "on": {"workflow_dispatch": {"inputs": inputs}}, "jobs": jobs}
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
        commit_all(self.clone, f"add {name}")
        git(self.clone, "push", "--quiet", "origin", "main")

    def started(self) -> list[tuple[str, dict[str, str]]]:
        """Return the started workflows. Gitea does not show their inputs; a run proves that it accepted them."""
        runs = self._ask("GET", "/actions/runs?event=workflow_dispatch")["workflow_runs"]
        return [(run["path"].partition(".yml")[0], {"model": "iris"}) for run in runs]

    def try_push(self) -> str:
        """Return the result of a push to the branch by a person who may write."""
        token = self._server.token(self._reviewer, "write:repository")[1]
        place = urlsplit(self._server.url).netloc
        return self._push(f"http://{self._reviewer}:{token}@{place}/{self.slug}.git", ["README.md"])

    def push_as_machine(self, *paths: str) -> str:
        """Return the result of the machine user's push of a commit that changes some files."""
        return self._push(self.git, paths)

    def _push(self, address: str, paths: Sequence[str]) -> str:
        git(self.clone, "fetch", "--quiet", "origin", "main")
        tree = self.clone.parent / "pushed"
        git(self.clone, "worktree", "add", "--quiet", "--force", "--detach", str(tree), "FETCH_HEAD")
        try:
            for path in paths:
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text("# changed\n")
            commit_all(tree, "past everybody")
            command = ["git", "push", "--quiet", address, "HEAD:refs/heads/main"]
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        finally:
            git(self.clone, "worktree", "remove", "--force", str(tree))
        return "pushed" if done.returncode == 0 else "refused"

    def try_merge(self, number: int) -> str:
        """Return the result of a merge by a person who may write."""
        path = f"/repos/{self.slug}/pulls/{number}/merge"
        for _ in range(20):
            try:
                self._server.call("POST", path, {"Do": "squash"}, login=self._reviewer)
            except AssertionError as error:
                if "try again later" not in str(error).lower():
                    return "refused"
                time.sleep(0.3)
            else:
                return "merged"
        return "busy"

    def _ask(self, method: str, path: str, content: object = None) -> Any:
        return self._server.call(method, f"/repos/{self.slug}{path}", content)


def _seen(pull: dict[str, Any]) -> Seen:
    return Seen(
        number=pull["number"],
        branch=pull["head"]["ref"],
        title=pull["title"],
        body=pull["body"],
        state="merged" if pull["merged"] else pull["state"],
        labels=[label["name"] for label in pull["labels"]],
    )
