"""The stage on a server that answers as GitHub's API is documented."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.gitops.tests.conftest import git
from services.gitops.tests.github import SLUG, TOKEN, GitHub, serving
from tests.forges.bare import bare, merged
from tests.forges.front import Front, front_of
from tests.forges.stages import Rights, Seen, Stage, Way

_STATES = {True: "success", False: "failure", None: None}


@contextmanager
def opened(request: pytest.FixtureRequest, clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The stage, on a server of its own."""
    with serving(GitHub(bare(request))) as hub, front_of(hub.url) as front:
        yield GitHubStage(hub, front, clone, monkeypatch)


class GitHubStage(Stage):
    """A bare repository, and the stand-in that uses it."""

    kind = "github"
    below = ""
    pusher = "4711"

    def __init__(self, hub: GitHub, front: Front, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(front, clone, monkeypatch)
        self.hub = hub
        self.git = str(hub.bare)

    @property
    def slug(self) -> str:
        return SLUG

    def token(self, rights: Rights) -> str:
        self.hub.reads_alone = rights == "reading"
        return "ghs_another" if rights == "none" else TOKEN

    def pulls(self) -> list[Seen]:
        return [
            Seen(
                number=pull["number"],
                branch=pull["head"]["ref"],
                title=pull["title"],
                body=pull["body"],
                state="merged" if pull.get("merged_at") else pull["state"],
                labels=[label["name"] for label in pull["labels"]],
            )
            for pull in self.hub.pulls
        ]

    def comments(self, number: int) -> list[str]:
        return [text for of, text in self.hub.comments if of == number]

    def edit(self, number: int, title: str) -> None:
        self.hub.pulls[number - 1]["title"] = title

    def close(self, number: int) -> None:
        self.hub.pulls[number - 1]["state"] = "closed"

    def merge(self, number: int, way: Way = "merge") -> None:
        pull = self.hub.pulls[number - 1]
        merged(self.hub.bare, pull["head"]["ref"], forward=way == "fast-forward-only")
        pull.update(state="closed", merged_at="2026-11-28T12:00:00Z")

    def propose(self, branch: str) -> None:
        self.hub.open(branch)

    def review(self, number: int, *, approve: bool) -> str:
        self.hub.reviews.append((number, "ada", "APPROVED" if approve else "CHANGES_REQUESTED"))
        return "ada"

    def report(self, branch: str, check: str, *, passed: bool | None) -> None:
        head = git(self.hub.bare, "rev-parse", branch)
        self.hub.runs.append((head, check, _STATES[passed]))
        done = {name for sha, name, state in self.hub.runs if (sha, state) == (head, "success")}
        for pull in self.hub.opened():
            if pull["head"]["ref"] == branch and "auto_merge" in pull and self._required() <= done:
                self.merge(pull["number"])

    def _required(self) -> set[str]:
        rules = [rule for each in self.hub.settings.rulesets for rule in each["rules"]]
        checks = [rule["parameters"]["required_status_checks"] for rule in rules if "checks" in rule["type"]]
        return {check["context"] for each in checks for check in each}

    def hook(self, address: str) -> None:
        self.hub.settings.hooks.append({"active": True, "config": {"url": address}})

    def started(self) -> list[tuple[str, dict[str, str]]]:
        return [(name, dict(inputs)) for name, inputs in self.hub.dispatched]
