"""The interface to a forge, the same for every kind.

The adapter of each forge implements the single operations. The logic of a rolling pull request is here, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.forge.rules import Rules

_TRIES = 3


State = Literal["open", "closed", "merged"]


class PullRequest(Struct, frozen=True, kw_only=True):
    """A pull request, or merge request; `head` is the newest commit of its branch."""

    number: int
    url: str
    title: str = ""
    body: str = ""
    branch: str = ""
    head: str = ""
    state: State = "open"
    labels: Sequence[str] = ()


Done = Literal["opened", "updated", "unchanged", "merged"]


class Kept(Struct, frozen=True, kw_only=True):
    """A pull request and what was done to it; `unlabelled` says why labels are missing.

    Outcome `merged` means that somebody merged it meanwhile.
    """

    number: int
    url: str
    outcome: Done
    unlabelled: str = ""


class Check(Struct, frozen=True, kw_only=True):
    """The result of one check of a commit; `waiting` includes running."""

    name: str
    state: Literal["passed", "failed", "waiting"]


class Opinion(Struct, frozen=True, kw_only=True):
    """Reviews and checks of a pull request: people by login name, each with the last review that counts."""

    approved_by: Sequence[str]
    rejected_by: Sequence[str]
    checks: Sequence[Check]
    conflicts: bool
    """Whether conflicts with the branch prevent the merge."""


class Move(Struct, frozen=True, kw_only=True):
    """A move of the branch to a commit, by a push or a merge, and when the forge recorded it."""

    head: str
    when: datetime


class Guards(Struct, frozen=True, kw_only=True):
    """The protection of the branch that Argo CD reads."""

    protected: bool
    """Whether only listed users can push to it."""
    approvals: int | None
    """How many approvals a merge needs; None if the token may not see it."""
    unchecked: Sequence[str]
    """Checks that the rules require and the branch does not."""
    limited: bool | None = None
    """Whether pushes are limited to files of automation; None if the forge cannot restrict files."""


class Standing(Struct, frozen=True, kw_only=True):
    """The rights of a token, and the settings of the repository; None for what the token may not see."""

    who: str
    """The login name; empty if the token may not see it."""
    expires: date | None
    may_push: bool
    may_open: bool
    """Whether it may open pull requests."""
    may_comment: bool
    guards: Guards | None
    hooks: Sequence[str] | None
    """The addresses of webhooks for pushes."""


class Forge(ABC):
    """One repository at a forge, and the pull requests into one of its branches from its other branches.

    Every method raises BadInputError if the forge refuses, and OutageError if it does not answer.
    """

    @abstractmethod
    def open_from(self, branch: str) -> PullRequest | None:
        """Return the open pull request from a branch, if any."""

    @abstractmethod
    def all_open(self) -> list[PullRequest]:
        """Return every open pull request."""

    @abstractmethod
    def create(self, branch: str, title: str, body: str) -> PullRequest | None:
        """Open a pull request; None if there is an open one from the branch already."""

    @abstractmethod
    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Change title and body of a pull request; it may have been closed meanwhile."""

    @abstractmethod
    def shut(self, pull: PullRequest) -> None:
        """Close a pull request without merging it."""

    @abstractmethod
    def comment(self, pull: PullRequest, text: str) -> None:
        """Add a comment to a pull request."""

    @abstractmethod
    def comments(self, pull: PullRequest) -> list[str]:
        """Return the comments of a pull request."""

    @abstractmethod
    def label(self, pull: PullRequest, labels: Sequence[str]) -> None:
        """Add labels to a pull request, and create those that the repository lacks."""

    @abstractmethod
    def merge_itself(self, pull: PullRequest) -> str:
        """Make a pull request merge automatically once it meets all requirements of the branch; safe to repeat.

        Returns: Why it does not merge; empty if it does. Without requirements it would merge at once, so that is left
        to a person.
        """

    @abstractmethod
    def opinion(self, pull: PullRequest) -> Opinion:
        """Return reviews and checks of a pull request."""

    @abstractmethod
    def moves(self) -> Iterator[Move]:
        """Yield the recorded moves of the branch, the newest first; the oldest ones may be missing."""

    @abstractmethod
    def dispatch(self, workflow: str, inputs: Mapping[str, str]) -> None:
        """Start a workflow on the branch, by its file name without the ending."""

    @abstractmethod
    def protect(self, rules: Rules, pusher: str) -> list[str]:
        """Write the repository's settings so that the rules protect the branch; safe to repeat.

        Args:
            rules: What is required.
            pusher: The user or App that may still push to the branch.

        Returns: A sentence for each setting that was written, or that this forge does not have.
        """

    @abstractmethod
    def standing(self, rules: Rules) -> Standing:
        """Return the rights of the token, and which rules the repository has, without changing anything."""

    def keep(self, branch: str, title: str, body: str, labels: Sequence[str] = ()) -> Kept:
        """Open the pull request from a branch, or update the open one.

        Raises:
            BadInputError: The forge refuses: token, rights, or the request.
            OutageError: It does not answer, or limits requests.
        """
        outcome: Done
        for _ in range(_TRIES):
            pull = self.open_from(branch)
            if pull is None:
                pull, outcome = self.create(branch, title, body), "opened"
            elif (pull.title, pull.body.strip()) == (title, body.strip()):
                outcome = "unchanged"
            else:
                pull, outcome = self.edit(pull, title, body), "updated"
            # It may have been closed or merged since `open_from`, and can still be edited.
            if pull and pull.state == "merged":
                return Kept(number=pull.number, url=pull.url, outcome="merged")
            if pull and pull.state == "open":
                return Kept(
                    number=pull.number, url=pull.url, outcome=outcome, unlabelled=self._unlabelled(pull, labels)
                )
        raise OutageError(f"The pull request from {branch} keeps changing: run the same command again.")

    def close(self, branch: str, why: str) -> PullRequest | None:
        """Close the open pull request from a branch with a comment that says why; None if there is none.

        If this is interrupted, the pull request has the comment and is still open; the next call closes it without a
        second comment.
        """
        pull = self.open_from(branch)
        if pull is None:
            return None
        if why not in self.comments(pull):
            self.comment(pull, why)
        self.shut(pull)
        return pull

    def _unlabelled(self, pull: PullRequest, labels: Sequence[str]) -> str:
        """Add labels and return the error, if any: a pull request without labels is still usable."""
        if missing := [name for name in labels if name not in pull.labels]:
            try:
                self.label(pull, missing)
            except BadInputError as error:
                return str(error)
        return ""
