"""The branch that Argo CD reads, at its remote: edits become commits there, even if others push at the same time.

This code uses neither the index nor the working tree. It builds a commit, pushes it by its hash, and then moves the
local branch if that loses nothing. If the process is killed, the worst that stays is a commit that nothing refers to.
"""

import random
import re
import time
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.git.repository import Repository, unknown_author
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.programs import ProgramFailedError

_ATTEMPTS = 40
# How many answers to pushes in a row may be lost.
_LOST_ANSWERS = 5
# The longest pauses between requests in seconds, so there is one more request than numbers.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# The longest pause in seconds after a lost race: it doubles with each loss, from the first number to the second.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 6.0
_REFUSED = re.compile(r"^ ! \[(remote )?rejected\].*\((?P<reason>.*)\)$", re.MULTILINE)
_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to (update|lock)|incorrect old value|"
    r"already exists|remote ref (updated|changed) since"
)
_NOT_LET_IN = re.compile(
    r"authentication failed|could not read (username|password)|permission (to \S+ )?denied|invalid username|"
    r"access denied|returned error: 40[13]|repository not found|does not appear to be a git repository|"
    r"host key verification failed|read-only file system|no space left on device|disk quota exceeded|"
    r"insufficient permission",
    re.IGNORECASE,
)
# If a branch a/b exists, git cannot create a branch a/b/c.
_IN_THE_WAY = re.compile(r"'refs/heads/(?P<branch>[^']+)' exists; cannot create")
# Git's messages for a broken connection. Without one of them, a failed push was refused on purpose.
_BROKEN_OFF = re.compile(r"^(fatal|error: RPC failed|send-pack: unexpected disconnect|client_loop|ssh: )", re.MULTILINE)


class _NoBranchError(BadInputError):
    """The remote does not have a branch."""


class Pushed(Enum):
    """The result of a push."""

    LANDED = auto()
    """The remote has the commit."""
    OVERTAKEN = auto()
    """Another commit was pushed first."""
    UNKNOWN = auto()
    """The answer was lost, so the commit may or may not have arrived."""


class Landed(Struct, frozen=True, kw_only=True):
    """A proposal, and its commit; None if it changes nothing."""

    proposal: Proposal
    commit: str | None


class Landing(Struct, frozen=True, kw_only=True):
    """The result of an edit, by proposal.

    `attempts` counts how often the edit was applied, `pushed` says whether the remote has the commits, and `local`
    whether the local branch has them.
    """

    landed: list[Landed]
    attempts: int
    pushed: bool
    local: bool

    @property
    def commit(self) -> str | None:
        """Return the newest commit, if there is one."""
        return next((entry.commit for entry in reversed(self.landed) if entry.commit), None)


class Trunk:
    """The branch that Argo CD reads, at the remote, and the local branch of the same name."""

    def __init__(self, repository: Repository, remote: str, branch: str) -> None:
        """Take the repository, and the names of the remote and the branch."""
        self.repository = repository
        self.remote = remote
        self.branch = branch
        self._tracking = f"refs/remotes/{remote}/{branch}"

    @classmethod
    def find(cls, repository: Repository, branch: str) -> "Trunk":
        """Find the remote that the local branch follows, or `origin`, or the only remote.

        Raises:
            BadInputError: There is no remote, or several and none of them is marked.
        """
        names = repository.git("remote").split()
        followed = repository.git("config", "--default", "origin", "--get", f"branch.{branch}.remote").strip()
        if followed in names:
            return cls(repository, followed, branch)
        if len(names) == 1:
            return cls(repository, names[0], branch)
        known = f"has the remotes {', '.join(names)}" if names else "has no remote"
        raise BadInputError(
            f"This clone {known}, and {branch} follows none: git remote add origin URL, or, where there is one, "
            f"git branch --set-upstream-to REMOTE/{branch} {branch}. Without a remote, --no-push commits here alone."
        )

    def newest(self) -> Snapshot:
        """Fetch the branch and return the files of its newest commit.

        Raises:
            BadInputError: The remote refuses access, or has no such branch.
            OutageError: It does not answer.
        """
        self._ask("fetch", "--quiet", "--no-tags", self.remote, f"+refs/heads/{self.branch}:{self._tracking}")
        return Snapshot(self.repository, self.repository.git("rev-parse", self._tracking).strip())

    def land(self, start: Snapshot, edit: Edit) -> Landing:
        """Commit an edit on top of the newest commit and push it; apply it again if another push was faster.

        Args:
            start: The newest files known so far.
            edit: Its proposals become a chain of commits, pushed together: all of them arrive, or none.

        Raises:
            BadInputError: The edit is not possible, or the remote refuses it.
            OutageError: The remote does not answer, or too many races were lost.
        """
        tip, lost = start, 0
        for attempt in range(1, _ATTEMPTS + 1):
            landed = chain_on(self.repository, tip.commit, edit(tip))
            landing = Landing(landed=landed, attempts=attempt, pushed=False, local=True)
            commit = landing.commit
            if commit is None:
                return landing
            pushed, said = self.push(commit, self.branch)
            if pushed is not Pushed.LANDED:
                time.sleep(_jittered(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
                tip = self.newest()
            if pushed is Pushed.LANDED or (pushed is Pushed.UNKNOWN and self.repository.contains(tip.commit, commit)):
                local = bring_along(self.repository, commit, self.branch)
                return Landing(landed=landed, attempts=attempt, pushed=True, local=local)
            lost = lost + 1 if pushed is Pushed.UNKNOWN else 0
            if lost == _LOST_ANSWERS:
                raise OutageError(
                    f"{self.remote} did not accept the commit to {self.branch}, {lost} times in a row: {said}"
                )
        raise OutageError(
            f"{self.remote} received other commits to {self.branch} before each of {_ATTEMPTS} attempts to push this "
            "one: run the same command again."
        )

    def push(self, commit: str, branch: str, *, over: str | None = None) -> tuple[Pushed, str]:
        """Push a commit to a branch of the remote; return the result, and git's message if it failed.

        Args:
            commit: What to push.
            branch: The branch to push to; it must be an ancestor of the commit, unless `over` is given.
            over: Replace the branch, but only if it is still at this commit; empty if the branch must not exist.

        Raises:
            BadInputError: The remote or a hook of this clone refuses; the error has its message.
        """
        lease = [] if over is None else [f"--force-with-lease=refs/heads/{branch}:{over}"]
        try:
            self._git("push", "--quiet", "--no-follow-tags", *lease, self.remote, f"{commit}:refs/heads/{branch}")
        except ProgramFailedError as error:
            return self._not_landed(error, branch), error.errors
        except OutageError as error:
            return Pushed.UNKNOWN, str(error)
        return Pushed.LANDED, ""

    def _not_landed(self, error: ProgramFailedError, branch: str) -> Pushed:
        refused = _REFUSED.search(error.errors)
        if in_the_way := _IN_THE_WAY.search(error.errors):
            other = in_the_way["branch"]
            raise BadInputError(
                f"{self.remote} has a branch {other}, so it cannot have {branch}: git push {self.remote} --delete "
                f"{other}."
            ) from None
        if refused and not _RACE.search(refused["reason"]):
            raise BadInputError(
                f"{self.remote} does not accept this commit to {branch} ({refused['reason']}): {error.errors}\n"
                "If the branch is protected, propose the change instead: --pr."
            ) from None
        self._let_in(error)
        if refused:
            return Pushed.OVERTAKEN
        if error.status == 1 and not _BROKEN_OFF.search(error.errors):
            # A pre-push hook, or a program that git uses for the push.
            raise BadInputError(
                f"The push to {branch} was refused before it reached {self.remote} (a pre-push hook?): {error.errors}"
            ) from None
        return Pushed.UNKNOWN

    def branch_head(self, branch: str) -> str:
        """Fetch another branch of the remote and return its commit; empty if it does not exist.

        Raises:
            BadInputError: The remote refuses access.
            OutageError: It does not answer.
        """
        listed = self._ask("ls-remote", self.remote, f"refs/heads/{branch}").split()
        if not listed:
            return ""
        try:
            self._ask("fetch", "--quiet", "--no-tags", self.remote, f"refs/heads/{branch}")
        except _NoBranchError:
            # Merged since it was listed; forges then delete the branch.
            return ""
        return listed[0]

    def _ask(self, *arguments: str) -> str:
        """Send a request to the remote, again if it does not answer."""
        for pause in (*_PAUSES, None):
            try:
                return self._git(*arguments)
            except ProgramFailedError as error:
                if "couldn't find remote ref" in error.errors:
                    raise _NoBranchError(
                        f"{self.remote} has no branch {self.branch}: push it first, or set `branch` in platform.yaml "
                        "to the one that Argo CD reads."
                    ) from None
                self._let_in(error)
                if pause is None:
                    raise OutageError(f"{self.remote} does not answer: {error.errors}") from None
                # This also happens if another process of this clone fetches at the same time.
                time.sleep(_jittered(pause))
        raise AssertionError("the last try either returns or raises")

    def _git(self, *arguments: str) -> str:
        # Otherwise git may start maintenance in the background, which outlives this process.
        return self.repository.git("-c", "maintenance.auto=false", "-c", "gc.auto=0", *arguments)

    def _let_in(self, error: ProgramFailedError) -> None:
        if _NOT_LET_IN.search(error.errors):
            raise BadInputError(
                f"{self.remote} refuses access to this clone: {error.errors}\n"
                "Check its address (git remote --verbose) and the credentials for it."
            ) from None


def land_here(start: Snapshot, edit: Edit) -> Landing:
    """Apply an edit to the checked-out commit and commit it locally; nothing is pushed.

    Raises:
        BadInputError: The edit is not possible, or its files have uncommitted changes.
    """
    landing = Landing(
        landed=chain_on(start.repository, start.commit, edit(start)), attempts=1, pushed=False, local=True
    )
    if landing.commit and not _fast_forwarded(start.repository, landing.commit):
        files = " ".join(str(path) for entry in landing.landed for path in entry.proposal.files)
        raise BadInputError(f"{files} have changes that are not committed: commit them, or git restore {files}.")
    return landing


def chain_on(repository: Repository, parent: str, proposals: Sequence[Proposal]) -> list[Landed]:
    """Build a commit of each proposal that changes something, each on top of the last.

    Raises:
        BadInputError: Git has no author configured.
    """
    landed = []
    for proposal in proposals:
        commit = commit_on(repository, parent, proposal) if proposal.files else None
        landed.append(Landed(proposal=proposal, commit=commit))
        parent = commit or parent
    return landed


def commit_on(repository: Repository, parent: str, proposal: Proposal) -> str:
    """Build a commit with changed files, without the index and the working tree, and return its hash.

    Raises:
        BadInputError: Git has no author configured.
    """
    signed = repository.git("config", "--type=bool", "--default", "false", "--get", "commit.gpgSign").strip() == "true"
    with repository.scratch_index() as index:
        repository.git("read-tree", parent, environment=index)
        for path, text in proposal.files.items():
            if text is None:
                repository.git("update-index", "--force-remove", "--", str(path), environment=index)
                continue
            blob = repository.git("hash-object", "-w", "--stdin", stdin=text).strip()
            repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=index)
        tree = repository.git("write-tree", environment=index).strip()
    options = ["-S"] if signed else []
    try:
        return repository.git("commit-tree", *options, "-p", parent, tree, stdin=proposal.message).strip()
    except ProgramFailedError as error:
        raise unknown_author(error) from None


def bring_along(repository: Repository, commit: str, branch: str) -> bool:
    """Move the local branch to a commit that was pushed, if that loses nothing; return whether it moved."""
    if _current_branch(repository) == branch:
        return _fast_forwarded(repository, commit)
    if not repository.git("for-each-ref", f"refs/heads/{branch}"):
        return True
    try:
        # Git refuses this if the branch is checked out in another working tree, or has commits of its own.
        repository.git("fetch", "--quiet", "--no-tags", ".", f"{commit}:refs/heads/{branch}")
    except ProgramFailedError:
        return False
    return True


def _fast_forwarded(repository: Repository, commit: str) -> bool:
    try:
        repository.git("merge", "--quiet", "--ff-only", "--no-autostash", commit)
    except ProgramFailedError:
        return False
    return True


def _current_branch(repository: Repository) -> str | None:
    try:
        return repository.git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
    except ProgramFailedError:
        return None


def _jittered(longest: float) -> float:
    return random.SystemRandom().uniform(0, longest)
