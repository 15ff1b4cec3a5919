"""The stage on a server that answers as GitLab's API is documented."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.gitops.tests.conftest import git
from services.gitops.tests.github import serving
from tests.forges.bare import bare, merged
from tests.forges.front import Front, front_of
from tests.forges.gitlab_standin import SLUG, TOKEN, GitLab
from tests.forges.stages import Rights, Seen, Stage, Way

_SEEN = {"opened": "open", "closed": "closed", "merged": "merged"}
_STATES = {True: "success", False: "failed", None: "running"}


@contextmanager
def opened(request: pytest.FixtureRequest, clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The stage, on a server of its own."""
    with serving(GitLab(bare(request))) as lab, front_of(lab.url) as front:
        yield GitLabStage(lab, front, clone, monkeypatch)


class GitLabStage(Stage):
    """A bare repository, and the stand-in that uses it."""

    kind = "gitlab"
    below = "/api/v4"
    pusher = "robot"

    def __init__(self, hub: GitLab, front: Front, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(front, clone, monkeypatch)
        self.hub = hub
        self.git = str(hub.bare)

    @property
    def slug(self) -> str:
        return SLUG

    def token(self, rights: Rights) -> str:
        self.hub.reads_alone = rights == "reading"
        return "glpat-another" if rights == "none" else TOKEN

    def pulls(self) -> list[Seen]:
        return [
            Seen(
                number=merge["iid"],
                branch=merge["source_branch"],
                title=merge["title"],
                body=merge["description"],
                state=_SEEN[merge["state"]],  # type: ignore[arg-type]
                labels=merge["labels"],
            )
            for merge in self.hub.merges
        ]

    def comments(self, number: int) -> list[str]:
        return [text for of, text in self.hub.notes if of == number]

    def edit(self, number: int, title: str) -> None:
        self.hub.merges[number - 1]["title"] = title

    def close(self, number: int) -> None:
        self.hub.merges[number - 1]["state"] = "closed"

    def merge(self, number: int, way: Way = "merge") -> None:
        merge = self.hub.merges[number - 1]
        merged(self.hub.bare, merge["source_branch"], forward=way == "fast-forward-only")
        merge["state"] = "merged"

    def propose(self, branch: str) -> None:
        self.hub.open(branch)

    def review(self, number: int, *, approve: bool) -> str:
        if approve:
            self.hub.approved.append((number, "ada"))
        else:
            self.hub.reviewers.append((number, "ada", "requested_changes"))
        return "ada"

    def report(self, branch: str, check: str, *, passed: bool | None) -> None:
        self.hub.statuses.append((git(self.hub.bare, "rev-parse", branch), check, _STATES[passed]))
        # Here a pipeline has one result, that of its last job.
        for merge in self.hub.merges:
            waits = merge["source_branch"] == branch and merge.get("merge_when_pipeline_succeeds")
            if waits and merge["state"] == "opened" and check == "promotion" and passed:
                self.merge(merge["iid"])

    def hook(self, address: str) -> None:
        self.hub.settings.hooks.append({"id": 1, "url": address, "push_events": True})

    def started(self) -> list[tuple[str, dict[str, str]]]:
        inputs = [dict(pipeline["inputs"]) for pipeline in self.hub.pipelines]
        return [(each.pop("workflow"), each) for each in inputs]
