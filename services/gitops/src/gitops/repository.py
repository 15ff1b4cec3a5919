"""The git repository in which the command runs."""

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError, GitopsError
from gitops.programs import ProgramFailedError, run

# Nothing here may wait for a password that nobody types.
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_REMOTE_SECONDS = 20.0


class Commit(Struct, frozen=True, kw_only=True):
    """One commit, as `git log` tells it."""

    sha: str
    author: str
    when: datetime
    subject: str


class Repository:
    """A working tree and its history."""

    def __init__(self, root: Path) -> None:
        """Take the folder that holds `.git`; `find` looks for it."""
        self.root = root

    @classmethod
    def find(cls, folder: Path | None = None) -> "Repository":
        """Find the repository around a folder, the current one by default.

        Raises:
            BadInputError: The folder is in no git repository.
        """
        here = folder or Path.cwd()
        try:
            root = run(["git", "rev-parse", "--show-toplevel"], cwd=here, environment=_ENVIRONMENT)
        except ProgramFailedError as error:
            raise BadInputError(
                f"{here} is in no git repository: run this in a clone of yours.\n{error.errors}"
            ) from None
        return cls(Path(root.strip()))

    def tracked(self) -> list[Path]:
        """The files that git knows and the working tree has, as paths relative to the root."""
        names = self._git("ls-files", "-z").split("\0")
        return [Path(name) for name in names if name and (self.root / name).is_file()]

    def last_commit(self, path: Path) -> Commit | None:
        """The newest commit that changed a path, if any."""
        found = self._git("log", "-1", "--format=%H%x00%an%x00%cI%x00%s", "--", str(path)).rstrip("\n")
        if not found:
            return None
        sha, author, when, subject = found.split("\0")
        return Commit(sha=sha, author=author, when=datetime.fromisoformat(when), subject=subject)

    def changed(self, *paths: Path) -> list[str]:
        """The files under the paths that differ from the last commit, new ones included."""
        lines = self._git("status", "--porcelain", "-z", "--no-renames", "--", *map(str, paths)).split("\0")
        return [line[3:] for line in lines if line]

    def head(self) -> str | None:
        """The commit that is checked out; None before the first one."""
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        except ProgramFailedError:
            return None

    def export(self, revision: str, folder: Path) -> None:
        """Write the files of a revision into a folder.

        Raises:
            BadInputError: There is no such revision.
        """
        try:
            commit = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
        except ProgramFailedError:
            raise BadInputError(
                f"--revision: git knows no {revision!r} here; name a commit, branch or tag (fetch it first)."
            ) from None
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            # An index of its own: what is staged stays as it is.
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self._git("read-tree", commit, environment=index)
            self._git("checkout-index", "--all", f"--prefix={folder.resolve()}/", environment=index)

    def commit(self, paths: Sequence[Path], message: str) -> str:
        """Commit these files, whatever else is staged, and return the commit.

        Raises:
            ProgramFailedError: Git refuses, for example because it does not know who commits.
        """
        names = [str(path) for path in paths]
        self._git("add", "--", *names)
        self._git("commit", "--quiet", "--message", message, "--only", "--", *names)
        return self._git("rev-parse", "HEAD").strip()

    def remote_head(self, url: str, branch: str) -> str | None:
        """The commit of a branch at a remote; None where the remote or the branch cannot be seen from here."""
        try:
            found = run(
                ["git", "ls-remote", url, f"refs/heads/{branch}"],
                cwd=self.root,
                environment=_ENVIRONMENT,
                timeout=_REMOTE_SECONDS,
            )
        except GitopsError:
            return None
        return found.split()[0] if found.strip() else None

    def _git(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        return run(["git", *arguments], cwd=self.root, environment={**_ENVIRONMENT, **(environment or {})})
