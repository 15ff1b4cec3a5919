"""The files of one commit, read out of git: what a pure edit starts from, whatever the working tree holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.pins.release import Change, Release, read_release
from gitops.platform.targets import Target


class Snapshot:
    """The files of one commit, each read once: a commit never changes."""

    def __init__(self, repository: Repository, commit: str, texts: Mapping[Path, str | None] | None = None) -> None:
        """Take the repository and a commit of it; `texts` are contents that are known, or are to count."""
        self.repository = repository
        self.commit = commit
        self._texts: dict[Path, str | None] = dict(texts or {})

    def read(self, path: Path) -> str | None:
        """The content of a file; None where there is none."""
        if path not in self._texts:
            self._texts[path] = self.repository.read_many([f"{self.commit}:{path}"])[0]
        return self._texts[path]

    def with_texts(self, texts: Mapping[Path, str | None]) -> "Snapshot":
        """The same files, some of them with other contents."""
        return Snapshot(self.repository, self.commit, {**self._texts, **texts})

    def modes(self, folder: Path) -> dict[Path, str]:
        """The files below a folder with their modes as git has them: 120000 is a symbolic link."""
        listed = self.repository.git("ls-tree", "-r", "-z", self.commit, "--", str(folder))
        entries = [entry.partition("\t") for entry in listed.split("\0") if entry]
        return {Path(path): told.split()[0] for told, _, path in entries}

    def release(self, target: Target) -> tuple[str | None, Release | None]:
        """The text of a target's release file and what it holds; None twice where nothing is released.

        Raises:
            BadInputError: The file is not as it should be.
        """
        text = self.read(target.file)
        return text, None if text is None else read_release(text, str(target.file))

    def released(self, target: Target) -> tuple[str, Release]:
        """As `release`, of a target that must have been released.

        Raises:
            BadInputError: Nothing is released to it, or its file is not as it should be.
        """
        text, release = self.release(target)
        if text is None or release is None:
            raise BadInputError(f"Nothing is released to {target}: {target.file} does not exist.")
        return text, release


# What commands do to a subject: the first part of a branch, by which a pull request of gitops is known.
Verb = Literal["bump", "promote", "rollback", "hold", "unhold", "shadow", "new", "remove", "move"]
VERBS = frozenset(get_args(Verb))


class Proposal(Struct, frozen=True, kw_only=True):
    """What one commit would be: whole files by path, what changes in words, and the message.

    `subject` is what it is about (`staging/iris`, `platform`), and `verb` what is done to it: together they name the
    branch of a pull request. A file with None is removed. Without files there is nothing to commit; `left_alone` then
    says why where something was in the way, and `exit_code` what a command ends with if all were left alone. `measured`
    is one whose reason is a figure, and so another one each time that it is made.
    """

    verb: Verb
    subject: str
    files: Mapping[Path, str | None] = {}
    changes: Sequence[Change] = ()
    message: str = ""
    left_alone: str = ""
    exit_code: int = 0
    measured: bool = False

    @property
    def branch(self) -> str:
        """The branch of its pull request."""
        return f"{self.verb}/{self.subject}"


# A pure function of a commit's files, so that it can be applied anew when somebody else was faster: one proposal for
# each commit, made one after the other and pushed together. No two of them change the same file.
Edit = Callable[[Snapshot], Sequence[Proposal]]
