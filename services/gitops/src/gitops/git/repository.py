"""The git repository in which the command runs."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError, GitopsError
from gitops.programs import EXACT, ProgramFailedError, run

# Git must never wait for a password.
ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_REMOTE_SECONDS = 20.0
_MERGED_READ = 20
_FORMAT = "%H%x00%an%x00%cI%x00%s"
# A file at the root of this project.
_MARK = "platform.yaml"


class Commit(Struct, frozen=True, kw_only=True):
    """A commit, from `git log`."""

    sha: str
    author: str
    when: datetime
    subject: str


class Repository:
    """A working tree and its history."""

    def __init__(self, root: Path) -> None:
        """Take the folder that contains `.git`; `find` looks for it."""
        self.root = root

    @classmethod
    def find(cls, folder: Path | None = None) -> "Repository":
        """Find the repository around a folder; the default is the current one.

        Raises:
            BadInputError: The folder is in no git repository, or this project is a subfolder of a larger one.
        """
        here = folder or Path.cwd()
        try:
            root = run(["git", "rev-parse", "--show-toplevel"], cwd=here, environment=ENVIRONMENT)
        except ProgramFailedError as error:
            raise BadInputError(f"{here} is not in a git repository: run this in your clone.\n{error.errors}") from None
        found = cls(Path(root.removesuffix("\n")))
        found.refuse_folders()
        return found

    def refuse_folders(self) -> None:
        """Refuse a repository with this project in a subfolder: Argo CD reads `apps` and `envs` from the root.

        Raises:
            BadInputError: The project is in a subfolder.
        """
        if (self.root / _MARK).is_file():
            return
        inside = [Path(name) for name in self.git("ls-files", "-z", "--", f"*/{_MARK}").split("\0") if name]
        if folders := [path.parent for path in inside if (self.root / path.parent / "envs").is_dir()]:
            raise BadInputError(
                f"{self.root} is a git repository with this project in its folder {folders[0]}, but Argo CD reads a "
                "repository from its root: give the project its own repository, for example with git subtree split "
                f"--prefix {folders[0]}."
            )

    def tracked(self) -> list[Path]:
        """Return the tracked files that exist in the working tree, as paths relative to the root."""
        names = self.git("ls-files", "-z").split("\0")
        return [Path(name) for name in names if name and (self.root / name).is_file()]

    def last_commit(self, path: Path) -> Commit | None:
        """Return the newest commit that changed a path, if any."""
        found = self.log(path, limit=1) if self.head() else []
        return found[0] if found else None

    def log(
        self, path: Path, revisions: str = "HEAD", *, limit: int | None = None, without: Sequence[Path] = ()
    ) -> list[Commit]:
        """Return commits, the newest first. A merge counts as one commit, by the person who merged, at that time.

        Args:
            path: Only commits that changed something there; `.` means anywhere.
            revisions: The newest commit, or a range.
            limit: The maximum number of commits.
            without: Files and folders whose changes do not count.
        """
        options = ["--first-parent", "--no-show-signature", f"--format={_FORMAT}"]
        options += [f"--max-count={limit}"] if limit else []
        everything = path == Path()
        where = [
            "--",
            ":(top)" if everything else f":(top,literal){path}",
            *(f":(top,exclude,literal){other}" for other in without),
        ]
        commits = []
        for line in self.git("log", *options, "--end-of-options", revisions, *where).split("\n")[:-1]:
            sha, author, when, subject = line.split("\0", 3)
            commits.append(Commit(sha=sha, author=author, when=datetime.fromisoformat(when), subject=subject))
        return commits

    def messages(self, commit: str, path: Path) -> list[str]:
        """Return the message of a commit, and those of the newest commits that it merged and that changed a file."""
        options = ["log", f"--max-count={_MERGED_READ}", "--full-history", "--no-show-signature", "-z"]
        options += ["--format=%B", "--end-of-options"]
        try:
            found = self.git(*options, f"{commit}^1..{commit}", "--", f":(top,literal){path}")
        except ProgramFailedError:
            # The first commit, or the oldest one in a shallow clone.
            found = self.git("show", "--no-patch", "--no-show-signature", "--format=%B", "--end-of-options", commit)
        return [message for message in found.split("\0") if message.strip()]

    def changed(self, *paths: Path) -> list[str]:
        """Return the files under the paths that differ from the last commit, including new ones."""
        lines = self.git("status", "--porcelain", "-z", "--no-renames", "--", *map(str, paths)).split("\0")
        return [line[3:] for line in lines if line]

    def head(self) -> str | None:
        """Return the commit that is checked out; None before the first commit."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        except ProgramFailedError:
            return None

    def commit_named(self, revision: str, option: str = "--revision") -> str:
        """Return the full hash of a commit.

        Args:
            revision: A commit, branch or tag.
            option: The option that named it, for the error.

        Raises:
            BadInputError: The revision does not exist.
        """
        try:
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
        except ProgramFailedError:
            raise BadInputError(
                f"{option}: git does not know {revision!r} here; name a commit, branch or tag (fetch it first)."
            ) from None

    def export(self, revision: str, folder: Path) -> None:
        """Write the files of a revision into a folder.

        Raises:
            BadInputError: The revision does not exist.
        """
        commit = self.commit_named(revision)
        with self.scratch_index() as index:
            self.git("read-tree", commit, environment=index)
            self.git("checkout-index", "--all", f"--prefix={folder.resolve()}/", environment=index)

    @contextlib.contextmanager
    def scratch_index(self) -> Iterator[Mapping[str, str]]:
        """Yield an environment in which git commands use a separate index, so that staged changes are not touched."""
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            yield {"GIT_INDEX_FILE": str(Path(scratch) / "index")}

    def read_many(self, names: Sequence[str]) -> list[str | None]:
        """Return the contents of files, named as COMMIT:PATH, in one call; None for missing ones."""
        rest = self.git("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names)).encode(errors=EXACT)
        texts: list[str | None] = []
        for name in names:
            heading, _, rest = rest.partition(b"\n")
            if heading == f"{name} missing".encode():
                texts.append(None)
                continue
            size = int(heading.split()[-1])
            texts.append(rest[:size].decode(errors=EXACT))
            rest = rest[size + 1 :]
        return texts

    def merged(self, ours: str, base: str, theirs: str) -> str | None:
        """Return the three-way merge of texts; None if both sides change the same lines."""
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            files = [Path(scratch) / name for name in ("ours", "base", "theirs")]
            for file, text in zip(files, (ours, base, theirs), strict=True):
                file.write_bytes(text.encode(errors=EXACT))
            try:
                return self.git("merge-file", "--stdout", "--quiet", *map(str, files))
            except ProgramFailedError:
                return None

    def is_shallow(self) -> bool:
        """Whether the clone lacks older history."""
        return self.git("rev-parse", "--is-shallow-repository").strip() == "true"

    def fork_point(self, one: str, other: str) -> str | None:
        """Return the newest common ancestor of two commits, if any."""
        try:
            return self.git("merge-base", one, other).strip()
        except ProgramFailedError:
            return None

    def has(self, commit: str) -> bool:
        """Whether this clone has a commit."""
        try:
            self.git("cat-file", "-e", f"{commit}^{{commit}}")
        except ProgramFailedError:
            return False
        return True

    def descendants(self, commit: str, tip: str) -> frozenset[str]:
        """Return a commit and those up to the tip that contain it."""
        return frozenset([commit, *self.git("rev-list", "--ancestry-path", f"{commit}..{tip}").split()])

    def contains(self, revision: str, commit: str) -> bool:
        """Whether a commit is an ancestor of a revision, or the revision itself."""
        try:
            self.git("merge-base", "--is-ancestor", commit, revision)
        except ProgramFailedError:
            return False
        return True

    def commits_between(self, base: str, head: str) -> list[str]:
        """Return the commits that are ancestors of `head` but not of `base`, the oldest first."""
        return self.git("rev-list", "--reverse", "--topo-order", "--end-of-options", head, f"^{base}").split()

    def touched(self, commit: str) -> dict[Path, str]:
        """Return the files in which a commit differs from all of its parents, with the new mode: 000000 if deleted."""
        listed = self.git("diff-tree", "-r", "-z", "-c", "--root", "--no-renames", "--no-commit-id", commit)
        fields = listed.split("\0")
        # An entry of a merge begins with a colon for each parent, and has as many modes before the new one.
        pairs = zip(fields[::2], fields[1::2], strict=False)
        return {Path(path): entry.split()[len(entry) - len(entry.lstrip(":"))] for entry, path in pairs if entry}

    def worktree_of(self, branch: str) -> Path | None:
        """Return the working tree that has a branch checked out, if any."""
        folder = None
        for line in self.git("worktree", "list", "--porcelain").splitlines():
            key, _, value = line.partition(" ")
            if key == "worktree":
                folder = Path(value)
            if (key, value) == ("branch", f"refs/heads/{branch}"):
                return folder
        return None

    def remote_head(self, url: str, branch: str) -> str | None:
        """Return the commit of a branch at a remote; None if the remote or the branch cannot be read from here."""
        try:
            found = run(
                ["git", "ls-remote", url, f"refs/heads/{branch}"],
                cwd=self.root,
                environment=ENVIRONMENT,
                timeout=_REMOTE_SECONDS,
            )
        except GitopsError:
            return None
        return found.split()[0] if found.strip() else None

    def author(self) -> str:
        """Return the author of commits made here: a name and an address.

        Raises:
            BadInputError: Git has no author configured.
        """
        try:
            return self.git("var", "GIT_AUTHOR_IDENT").rsplit(" ", 2)[0]
        except ProgramFailedError as error:
            raise unknown_author(error) from None

    def git(self, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
        """Run a git command in the root and return its output.

        Raises:
            ProgramFailedError: It exited with a non-zero status.
        """
        return run(["git", *arguments], cwd=self.root, stdin=stdin, environment={**ENVIRONMENT, **(environment or {})})


def unknown_author(error: ProgramFailedError) -> GitopsError:
    """Return the error for a commit that git refused: that no author is configured, or git's own error."""
    if "tell me who you are" not in error.errors.lower():
        return error
    return BadInputError("git does not know who commits: git config user.name NAME and git config user.email ADDRESS.")
