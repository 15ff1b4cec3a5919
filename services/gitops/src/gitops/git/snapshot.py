"""The files of one commit, read out of git: what a pure edit starts from, whatever the working tree holds."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.pins.release import Change, Release, read_release
from gitops.platform.environments import ENVS, in_order, one_of, release_file


class Snapshot:
    """The files of one commit, each read once: a commit never changes."""

    def __init__(self, repository: Repository, commit: str) -> None:
        """Take the repository and a commit of it."""
        self.repository = repository
        self.commit = commit
        self._texts: dict[Path, str | None] = {}

    def read(self, path: Path) -> str | None:
        """The content of a file; None where there is none."""
        if path not in self._texts:
            self._texts[path] = self.repository.read_many([f"{self.commit}:{path}"])[0]
        return self._texts[path]

    @cached_property
    def environments(self) -> list[str]:
        """The environments, in the order of promotion."""
        listed = self.repository.git("ls-tree", "-d", "--name-only", "-z", self.commit, f"{ENVS}/")
        return in_order(Path(folder).name for folder in listed.split("\0") if folder)

    def environment(self, name: str) -> str:
        """Return the name of an environment.

        Raises:
            BadInputError: There is no such environment.
        """
        return one_of(self.environments, name)

    def release(self, environment: str) -> tuple[str | None, Release | None]:
        """The text of an environment's release file and what it holds; None twice where nothing is released.

        Raises:
            BadInputError: There is no such environment, or its file is not as it should be.
        """
        file = release_file(self.environment(environment))
        text = self.read(file)
        return text, None if text is None else read_release(text, str(file))

    def released(self, environment: str) -> tuple[str, Release]:
        """As `release`, of an environment that must have been released.

        Raises:
            BadInputError: There is no such environment, nothing is released to it, or its file is not as it should be.
        """
        text, release = self.release(environment)
        if text is None or release is None:
            raise BadInputError(f"Nothing is released to {environment}: there is no {release_file(environment)}.")
        return text, release


class Proposal(Struct, frozen=True, kw_only=True):
    """What the next commit would be: whole files by path, what changes in words, and the message.

    Without changes there is nothing to commit.
    """

    files: Mapping[Path, str]
    changes: list[Change]
    message: str


# A pure function of a commit's files, so that it can be applied anew when somebody else was faster.
Edit = Callable[[Snapshot], Proposal]
