"""The files of one commit, read from git: the input of edits, whatever the working tree contains."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.pins.release import Change, Release, read_release
from gitops.platform.targets import Target


class Snapshot:
    """The files of one commit. Each is read only once, because commits never change."""

    def __init__(self, repository: Repository, commit: str, texts: Mapping[Path, str | None] | None = None) -> None:
        """Take the repository and a commit; `texts` are contents that are known, or that replace the commit's."""
        self.repository = repository
        self.commit = commit
        self._texts: dict[Path, str | None] = dict(texts or {})

    def read(self, path: Path) -> str | None:
        """Return the content of a file; None if it does not exist."""
        if path not in self._texts:
            self._texts[path] = self.repository.read_many([f"{self.commit}:{path}"])[0]
        return self._texts[path]

    def with_texts(self, texts: Mapping[Path, str | None]) -> "Snapshot":
        """Return a snapshot in which some files have other contents."""
        return Snapshot(self.repository, self.commit, {**self._texts, **texts})

    def modes(self, folder: Path) -> dict[Path, str]:
        """Return the files below a folder with their git modes: 120000 is a symbolic link."""
        listed = self.repository.git("ls-tree", "-r", "-z", self.commit, "--", str(folder))
        entries = [entry.partition("\t") for entry in listed.split("\0") if entry]
        return {Path(path): mode.split()[0] for mode, _, path in entries}

    def release(self, target: Target) -> tuple[str | None, Release | None]:
        """Return the text of a target's release file and its content; both are None if nothing is released.

        Raises:
            BadInputError: The file is invalid.
        """
        text = self.read(target.file)
        return text, None if text is None else read_release(text, str(target.file))

    def released(self, target: Target) -> tuple[str, Release]:
        """Return the same as `release`, for a target that must have a release.

        Raises:
            BadInputError: Nothing is released to it, or its file is invalid.
        """
        text, release = self.release(target)
        if text is None or release is None:
            raise BadInputError(f"Nothing is released to {target}: {target.file} does not exist.")
        return text, release


# What a command does to a subject: the first part of a branch name. It identifies pull requests of gitops.
Verb = Literal["bump", "promote", "rollback", "hold", "unhold", "shadow", "new", "remove", "move"]
VERBS = frozenset(get_args(Verb))


class Proposal(Struct, frozen=True, kw_only=True):
    """The content of one commit: whole files by path, the changes, and the message.

    `subject` is what it changes (`staging/iris`, `platform`), and `verb` how: together they are the branch of the pull
    request. A file with the value None is removed. Without files there is nothing to commit. Then `left_alone` says
    why, if something prevented the change, and `exit_code` is for a command for which all proposals were left alone.
    `measured` means that the reason contains measurements, which differ each time.
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
        """Return the branch of its pull request."""
        return f"{self.verb}/{self.subject}"


# A pure function of a commit's files, so that it can be applied again after another push was faster. Each proposal
# becomes a commit; they are made in order and pushed together. No two of them change the same file.
Edit = Callable[[Snapshot], Sequence[Proposal]]
