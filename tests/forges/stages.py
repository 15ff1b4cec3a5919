"""A fork on a forge, as the suite of behaviours sees it: the same questions and hands, whichever forge it is."""

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


class Seen(Struct, frozen=True, kw_only=True):
    """A pull request as the forge itself shows it."""

    number: int
    branch: str
    title: str
    body: str
    state: Literal["open", "closed", "merged"]
    labels: Sequence[str]


class Stage(ABC):
    """A clone of a fork, its forge, and the people there. `git` is where the clone pushes to."""

    kind: ForgeKind
    git: str
    below: str
    """The path of the API below the forge's address."""
    pusher: str
    """Who is named to branch-protection."""

    def __init__(self, front: Front, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.front = front
        self.clone = clone
        self._monkeypatch = monkeypatch

    def set_up(self) -> None:
        """Make the fork the forge's own, and push it."""
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
        """Give the commands a token: one that may do all, one that reads alone, one that has ended."""
        self._monkeypatch.setenv(self.variables.token, self.token(rights))

    @property
    def variables(self) -> Variables:
        """The variables of the environment that the forge's adapter reads."""
        return adapter(self.kind).variables

    @property
    @abstractmethod
    def slug(self) -> str:
        """The repository's path."""

    @abstractmethod
    def token(self, rights: Rights) -> str:
        """A token of the machine user."""

    @abstractmethod
    def pulls(self) -> list[Seen]:
        """Every pull request there ever was, the oldest first."""

    @abstractmethod
    def comments(self, number: int) -> list[str]:
        """What was said below one."""

    @abstractmethod
    def edit(self, number: int, title: str) -> None:
        """A person changes the title."""

    @abstractmethod
    def close(self, number: int) -> None:
        """A person closes it."""

    @abstractmethod
    def merge(self, number: int) -> None:
        """A person merges it."""

    @abstractmethod
    def review(self, number: int, *, approve: bool) -> str:
        """A person who may write approves it, or asks for changes; returns the login name."""

    @abstractmethod
    def report(self, branch: str, check: str, *, passed: bool | None) -> None:
        """A check says of a branch's newest commit that it passed, failed, or runs."""

    @abstractmethod
    def hook(self, address: str) -> None:
        """The repository gets a webhook for pushes."""

    @abstractmethod
    def started(self) -> list[tuple[str, dict[str, str]]]:
        """The workflows that were started, with their inputs."""

    def add_workflow(self, name: str) -> None:  # noqa: B027  what stands in for a forge knows no workflows
        """Have the branch hold a workflow that can be started; where the forge looks."""

    def await_conflict_check(self, number: int) -> None:  # noqa: B027  what stands in for a forge looks at once
        """Wait until the forge knows whether a pull request has conflicts."""

    def opened(self) -> list[Seen]:
        """Those that are open."""
        return [pull for pull in self.pulls() if pull.state == "open"]

    def pin(self, environment: str, version: int, service: str = "iris") -> str:
        """Have the branch say that a service runs a version of its model; as a person who pushes."""
        git(self.clone, "pull", "--quiet", "--rebase", "origin", "main")
        file = self.clone / release_file(environment, service)
        file.parent.mkdir(exist_ok=True)
        before = file.read_text() if file.exists() else None
        file.write_text(written(before, release(version, service), environment))
        commit = commit_all(self.clone, f"pin {environment}/{service} {version}")
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")
        return commit

    def pinned(self, environment: str, branch: str = "main", service: str = "iris") -> str:
        """The version that a branch of the forge has a service run."""
        git(self.clone, "fetch", "--quiet", "origin", f"+refs/heads/{branch}:refs/seen/{branch}")
        text = git(self.clone, "show", f"refs/seen/{branch}:{release_file(environment, service)}")
        version: str = yaml.safe_load(text)["model"]["version"]
        return version

    def head(self, branch: str) -> str:
        """The newest commit of a branch of the forge; empty where there is no such branch."""
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
