"""The branch that Argo CD reads, at its remote: edits become commits there, whoever else writes at the same time.

Nothing here works through the index or the working tree: a commit is built beside them and pushed by its name, and only
then is the local branch moved, if that loses nothing. A process that is killed leaves at worst a commit that nothing
refers to.
"""

import random
import re
import time
from enum import Enum, auto

from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.git.repository import Repository, unknown_author
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.programs import ProgramFailedError

BRANCH = "main"
_ATTEMPTS = 40
# Seconds waited at most between questions, so one more question than there are numbers.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# Seconds that a writer who lost a race waits at most, doubled with each loss up to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 6.0
_REFUSED = re.compile(r"^ ! \[(remote )?rejected\].*\((?P<reason>.*)\)$", re.MULTILINE)
_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to (update|lock)|incorrect old value|"
    r"already exists|remote ref (updated|changed) since"
)
_NOT_LET_IN = re.compile(
    r"authentication failed|could not read (username|password)|permission (to \S+ )?denied|invalid username|"
    r"access denied|returned error: 40[13]|repository not found|does not appear to be a git repository|"
    r"host key verification failed",
    re.IGNORECASE,
)


class Pushed(Enum):
    """What came of a push."""

    LANDED = auto()
    """The remote has the commit."""
    OVERTAKEN = auto()
    """Somebody else was faster."""
    UNKNOWN = auto()
    """The answer got lost, so the commit may have arrived or not."""


class Landing(Struct, frozen=True, kw_only=True):
    """What came of an edit; `commit` is None where there was nothing to change.

    `attempts` counts how often the edit was applied, `pushed` says whether the remote has the commit, and `local`
    whether the local branch has it.
    """

    proposal: Proposal
    commit: str | None
    attempts: int
    pushed: bool
    local: bool


class Trunk:
    """The main branch at the remote that the local one follows."""

    def __init__(self, repository: Repository, remote: str) -> None:
        """Take the repository and the remote's name."""
        self.repository = repository
        self.remote = remote
        self._tracking = f"refs/remotes/{remote}/{BRANCH}"

    @classmethod
    def find(cls, repository: Repository) -> "Trunk":
        """The trunk at the remote that the local main branch follows, at `origin`, or at the only remote.

        Raises:
            BadInputError: No remote, or more than one and none of them marked.
        """
        names = repository.git("remote").split()
        followed = repository.git("config", "--default", "origin", "--get", f"branch.{BRANCH}.remote").strip()
        if followed in names:
            return cls(repository, followed)
        if len(names) == 1:
            return cls(repository, names[0])
        known = f"has the remotes {', '.join(names)}" if names else "has no remote"
        raise BadInputError(
            f"This clone {known}, and {BRANCH} follows none: git remote add origin URL, or, where there is one, "
            f"git branch --set-upstream-to REMOTE/{BRANCH} {BRANCH}. Without a remote, --no-push commits here alone."
        )

    def newest(self) -> Snapshot:
        """Fetch the branch and return the files of its newest commit.

        Raises:
            BadInputError: The remote lets nobody in, or has no such branch.
            OutageError: It does not answer.
        """
        self._ask("fetch", "--quiet", "--no-tags", self.remote, f"+refs/heads/{BRANCH}:{self._tracking}")
        return Snapshot(self.repository, self.repository.commit_named(self._tracking))

    def land(self, start: Snapshot, edit: Edit) -> Landing:
        """Apply an edit to the branch's newest commit and push it; when somebody else was faster, apply it anew.

        Args:
            start: The branch's newest commit, as far as is known.
            edit: What to change.

        Raises:
            BadInputError: The edit cannot be made, or the remote refuses it.
            OutageError: The remote does not answer, or the race was lost too often.
        """
        tip = start
        for attempt in range(1, _ATTEMPTS + 1):
            proposal = edit(tip)
            if not proposal.changes:
                return Landing(proposal=proposal, commit=None, attempts=attempt, pushed=False, local=True)
            commit = commit_on(self.repository, tip.commit, proposal)
            pushed = self.push(commit, BRANCH)
            if pushed is not Pushed.LANDED:
                time.sleep(_jittered(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)))
                tip = self.newest()
            if pushed is Pushed.LANDED or (pushed is Pushed.UNKNOWN and self.repository.contains(tip.commit, commit)):
                local = bring_along(self.repository, commit)
                return Landing(proposal=proposal, commit=commit, attempts=attempt, pushed=True, local=local)
        raise OutageError(
            f"{self.remote} took other commits to {BRANCH} each of {_ATTEMPTS} times that this one was offered: "
            "run the same command again."
        )

    def push(self, commit: str, branch: str, *, over: str | None = None) -> Pushed:
        """Push a commit to a branch of the remote.

        Args:
            commit: What to push.
            branch: Where to; it must be behind the commit, unless `over` is given.
            over: The commit that the branch may be at, empty for a branch that is not there: it is replaced, and
                nothing else would be.

        Raises:
            BadInputError: The remote refuses, by a rule of its own or because it does not know who asks.
        """
        lease = [] if over is None else [f"--force-with-lease=refs/heads/{branch}:{over}"]
        try:
            self._git("push", "--quiet", "--no-follow-tags", *lease, self.remote, f"{commit}:refs/heads/{branch}")
        except ProgramFailedError as error:
            refused = _REFUSED.search(error.errors)
            if refused and not _RACE.search(refused["reason"]):
                raise BadInputError(
                    f"{self.remote} does not take this commit to {branch} ({refused['reason']}): {error.errors}\n"
                    "If the branch is protected, propose the change: --pr where the command has it."
                ) from None
            if refused:
                return Pushed.OVERTAKEN
            self._let_in(error)
            return Pushed.UNKNOWN
        except OutageError:
            return Pushed.UNKNOWN
        return Pushed.LANDED

    def branch_head(self, branch: str) -> str:
        """Fetch another branch of the remote and return its commit; empty where there is none.

        Raises:
            BadInputError: The remote lets nobody in.
            OutageError: It does not answer.
        """
        listed = self._ask("ls-remote", self.remote, f"refs/heads/{branch}").split()
        if not listed:
            return ""
        self._ask("fetch", "--quiet", "--no-tags", self.remote, f"refs/heads/{branch}")
        return listed[0]

    def _ask(self, *arguments: str) -> str:
        """A question to the remote, asked again while it does not answer."""
        for pause in (*_PAUSES, None):
            try:
                return self._git(*arguments)
            except ProgramFailedError as error:
                if "couldn't find remote ref" in error.errors:
                    raise BadInputError(f"{self.remote} has no branch {BRANCH} yet: push it first.") from None
                self._let_in(error)
                if pause is None:
                    raise OutageError(f"{self.remote} does not answer: {error.errors}") from None
                # Also when another process of this clone fetches at the same time.
                time.sleep(_jittered(pause))
        raise AssertionError("the last try either returns or raises")

    def _git(self, *arguments: str) -> str:
        # Housekeeping would go on in the background, after this process.
        return self.repository.git("-c", "maintenance.auto=false", "-c", "gc.auto=0", *arguments)

    def _let_in(self, error: ProgramFailedError) -> None:
        if _NOT_LET_IN.search(error.errors):
            raise BadInputError(
                f"{self.remote} does not let this clone in: {error.errors}\n"
                "Check its address (git remote --verbose) and the credentials for it."
            ) from None


def land_here(start: Snapshot, edit: Edit) -> Landing:
    """Apply an edit to what is checked out and commit it there alone; nothing is pushed.

    Raises:
        BadInputError: The edit cannot be made, or the files that it changes hold other changes already.
    """
    repository, proposal = start.repository, edit(start)
    if not proposal.changes:
        return Landing(proposal=proposal, commit=None, attempts=1, pushed=False, local=True)
    commit = commit_on(repository, start.commit, proposal)
    if not _fast_forwarded(repository, commit):
        files = " ".join(str(path) for path in proposal.files)
        raise BadInputError(f"{files}: there are changes that are not committed; commit them, or git restore {files}.")
    return Landing(proposal=proposal, commit=commit, attempts=1, pushed=False, local=True)


def commit_on(repository: Repository, parent: str, proposal: Proposal) -> str:
    """Build a commit with other content of some files, beside the index and the working tree, and return its name.

    Raises:
        BadInputError: Git does not know who commits.
    """
    signed = repository.git("config", "--type=bool", "--default", "false", "--get", "commit.gpgSign").strip() == "true"
    with repository.scratch_index() as index:
        repository.git("read-tree", parent, environment=index)
        for path, text in proposal.files.items():
            blob = repository.git("hash-object", "-w", "--stdin", stdin=text).strip()
            repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=index)
        tree = repository.git("write-tree", environment=index).strip()
    options = ["-S"] if signed else []
    try:
        return repository.git("commit-tree", *options, "-p", parent, tree, stdin=proposal.message).strip()
    except ProgramFailedError as error:
        raise unknown_author(error) from None


def bring_along(repository: Repository, commit: str) -> bool:
    """Move the local main branch to a commit that was pushed, if nothing is lost by it; says whether it was."""
    if _current_branch(repository) == BRANCH:
        return _fast_forwarded(repository, commit)
    if not repository.git("for-each-ref", f"refs/heads/{BRANCH}"):
        return True
    try:
        # Git refuses to fetch over what is checked out elsewhere, or has commits of its own.
        repository.git("fetch", "--quiet", "--no-tags", ".", f"{commit}:refs/heads/{BRANCH}")
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
