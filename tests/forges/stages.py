"""A fork on a forge, with the same methods for every forge: what tests read there, and what people do there."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import yaml
from msgspec import Struct

from gitops.forge.api import Variables
from gitops.forge.choice import adapter
from gitops.pins.release import Image, Model, Notes, Release, written
from gitops.platform.forges import ForgeKind
from services.gitops.tests.conftest import DIGEST, commit_all, git, release_file
from tests.forges.front import Front

Rights = Literal["all", "reading", "none"]
# The names are those of Gitea's API.
Way = Literal["merge", "squash", "rebase", "fast-forward-only"]


class Seen(Struct, frozen=True, kw_only=True):
    """A pull request as the forge itself shows it."""

    number: int
    branch: str
    title: str
    body: str
    state: Literal["open", "closed", "merged"]
    labels: Sequence[str]


class Stage(ABC):
    """A clone of a fork, its forge, and its people. `git` is the address that the clone pushes to."""

    kind: ForgeKind
    git: str
    below: str
    """The path of the API below the forge's address."""
    pusher: str
    """The user that branch-protection allows to push."""

    def __init__(self, front: Front, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.front = front
        self.clone = clone
        self._monkeypatch = monkeypatch

    def set_up(self) -> None:
        """Set this forge in the fork's settings, and push the fork."""
        file = self.clone / "platform.yaml"
        repository = f"{self.front.url}/{self.slug}.git"
        text = file.read_text().replace("https://github.com/OWNER/NAME.git", repository)
        text = text.replace("forge: github", f"forge: {{kind: {self.kind}, url: {self.front.url}}}")
        file.write_text(text.replace("ghcr.io/OWNER/NAME", "registry.example.com/acme"))
        commit_all(self.clone, "Adopt")
        git(self.clone, "remote", "add", "origin", self.git)
        git(self.clone, "push", "--quiet", "--set-upstream", "origin", "main")
        self._monkeypatch.setenv(self.variables.api, f"{self.front.url}{self.below}")
        self.hold_token("all")

    def hold_token(self, rights: Rights) -> None:
        """Give the commands a token: one with all rights, one that may only read, or one that has expired."""
        self._monkeypatch.setenv(self.variables.token, self.token(rights))

    @property
    def variables(self) -> Variables:
        """The environment variables that the forge's adapter reads."""
        return adapter(self.kind).variables

    @property
    @abstractmethod
    def slug(self) -> str:
        """Return the repository's path."""

    @abstractmethod
    def token(self, rights: Rights) -> str:
        """Return a token of the machine user."""

    @abstractmethod
    def pulls(self) -> list[Seen]:
        """Return every pull request that ever existed, the oldest first."""

    @abstractmethod
    def comments(self, number: int) -> list[str]:
        """Return the comments on a pull request."""

    @abstractmethod
    def edit(self, number: int, title: str) -> None:
        """Change the title, as a person."""

    @abstractmethod
    def close(self, number: int) -> None:
        """Close a pull request, as a person."""

    @abstractmethod
    def merge(self, number: int, way: Way = "merge") -> None:
        """Merge a pull request, as a person, in a way that the forge has."""

    @abstractmethod
    def review(self, number: int, *, approve: bool) -> str:
        """Approve it or request changes, as a person who may write. Return the person's login."""

    @abstractmethod
    def report(self, branch: str, check: str, *, passed: bool | None) -> None:
        """Report for a branch's newest commit that a check passed, failed or runs."""

    @abstractmethod
    def hook(self, address: str) -> None:
        """Add a webhook for pushes to the repository."""

    @abstractmethod
    def started(self) -> list[tuple[str, dict[str, str]]]:
        """Return the workflows that were started, with their inputs."""

    def add_workflow(self, name: str) -> None:  # noqa: B027  stand-ins have no workflows
        """Commit a workflow that can be started, to the place where the forge looks for it."""

    def await_conflict_check(self, number: int) -> None:  # noqa: B027  stand-ins check at once
        """Wait until the forge knows whether a pull request has conflicts."""

    def opened(self) -> list[Seen]:
        """Return the open pull requests."""
        return [pull for pull in self.pulls() if pull.state == "open"]

    @abstractmethod
    def propose(self, branch: str) -> None:
        """Open a pull request from a branch, as a person."""

    def pin(self, environment: str, version: int, service: str = "iris") -> str:
        """Pin a service to a version of its model on the branch, as a person who pushes. Return the commit."""
        git(self.clone, "pull", "--quiet", "--rebase", "origin", "main")
        commit = self._pin(environment, version, service)
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return commit

    def pin_on(self, branch: str, environment: str, version: int) -> str:
        """Pin the first service on another branch, on top of the newest commit. Return the commit."""
        git(self.clone, "fetch", "--quiet", "origin", "main")
        git(self.clone, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        commit = self._pin(environment, version, "iris")
        git(self.clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        git(self.clone, "checkout", "--quiet", "main")
        return commit

    def _pin(self, environment: str, version: int, service: str) -> str:
        file = self.clone / release_file(environment, service)
        file.parent.mkdir(exist_ok=True)
        before = file.read_text() if file.exists() else None
        file.write_text(written(before, release(version, service), environment))
        return commit_all(self.clone, f"pin {environment}/{service} {version}")

    def pinned(self, environment: str, branch: str = "main", service: str = "iris") -> str:
        """Return the version of a service that a branch on the forge pins."""
        git(self.clone, "fetch", "--quiet", "origin", f"+refs/heads/{branch}:refs/seen/{branch}")
        text = git(self.clone, "show", f"refs/seen/{branch}:{release_file(environment, service)}")
        version: str = yaml.safe_load(text)["model"]["version"]
        return version

    def head(self, branch: str) -> str:
        """Return the newest commit of a branch on the forge, or an empty string if the branch does not exist."""
        return git(self.clone, "ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]


def release(version: int, service: str = "iris") -> Release:
    chart = yaml.safe_load(Path("charts/model-serving/Chart.yaml").read_text())["version"]
    return Release(
        release=Notes(chart=chart, hold=None, metrics={"accuracy": 0.9 + version / 100}),
        image=Image(repository="registry.example.com/acme/serving", tag=f"1.{version}.0", digest=DIGEST),
        model=Model(
            name=f"{service}-classifier",
            version=str(version),
            digest=DIGEST,
            uri=f"s3://mlflow/1/models/m-{version}/artifacts",
        ),
    )
