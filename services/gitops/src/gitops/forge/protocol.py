"""What the commands ask of a forge, whichever it is.

A forge's adapter says how each single thing is done over its API; what a rolling pull request is stands here, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.forge.rules import Rules

_TRIES = 3


State = Literal["open", "closed", "merged"]


class PullRequest(Struct, frozen=True, kw_only=True):
    """A pull request; what some forges call a merge request is one too. `head` is the newest commit of its branch."""

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
    """The pull request as it is now, and what was done to have it so; `unlabelled` says why labels are missing.

    One that is `merged` was so by somebody while it was looked at.
    """

    number: int
    url: str
    outcome: Done
    unlabelled: str = ""


class Check(Struct, frozen=True, kw_only=True):
    """What one check says of a commit; `waiting` is for what runs too."""

    name: str
    state: Literal["passed", "failed", "waiting"]


class Opinion(Struct, frozen=True, kw_only=True):
    """What was said of a pull request: people by their login names, each by the last word that counts."""

    approved_by: Sequence[str]
    rejected_by: Sequence[str]
    checks: Sequence[Check]
    conflicts: bool
    """Whether it cannot be merged as it is, for the branch has moved."""


class Guards(Struct, frozen=True, kw_only=True):
    """What stands before the branch that Argo CD reads."""

    protected: bool
    """Whether nobody but those who are named can push to it."""
    approvals: int | None
    """How many approvals a merge needs; None where that cannot be seen."""
    unchecked: Sequence[str]
    """Checks that the rules require and the branch does not."""
    limited: bool | None = None
    """Whether pushes to the branch may hold what machines write alone; None where the forge cannot tell files apart."""


class Standing(Struct, frozen=True, kw_only=True):
    """What a token is worth at the repository, and what the repository has; None for what it cannot see."""

    who: str
    """The login name; empty where the token does not tell."""
    expires: date | None
    may_push: bool
    may_open: bool
    """Whether it may open pull requests."""
    may_comment: bool
    guards: Guards | None
    hooks: Sequence[str] | None
    """The addresses that get a call for each push."""


class Forge(ABC):
    """One repository at a forge, and the pull requests into one of its branches from its other branches.

    Every call raises BadInputError where the forge refuses, and OutageError where it does not answer.
    """

    @abstractmethod
    def open_from(self, branch: str) -> PullRequest | None:
        """The open pull request from a branch, if any."""

    @abstractmethod
    def all_open(self) -> list[PullRequest]:
        """Every open pull request."""

    @abstractmethod
    def create(self, branch: str, title: str, body: str) -> PullRequest | None:
        """Open a pull request; None where there is an open one from the branch already."""

    @abstractmethod
    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Give a pull request another title and body; it may have been closed meanwhile."""

    @abstractmethod
    def shut(self, pull: PullRequest) -> None:
        """Close a pull request without merging it."""

    @abstractmethod
    def comment(self, pull: PullRequest, text: str) -> None:
        """Say something below a pull request."""

    @abstractmethod
    def comments(self, pull: PullRequest) -> list[str]:
        """What was said below a pull request."""

    @abstractmethod
    def label(self, pull: PullRequest, labels: Sequence[str]) -> None:
        """Add labels to a pull request, made where the repository lacks them."""

    @abstractmethod
    def merge_itself(self, pull: PullRequest) -> str:
        """Have a pull request merge itself once everything that the branch requires is there; safe to do again.

        Returns:
            Why it does not; empty where it does. One that nothing would hold back is left for a person to merge.
        """

    @abstractmethod
    def opinion(self, pull: PullRequest) -> Opinion:
        """What people and checks say of a pull request."""

    @abstractmethod
    def dispatch(self, workflow: str, inputs: Mapping[str, str]) -> None:
        """Start a workflow on the branch, by the name of its file without the ending."""

    @abstractmethod
    def protect(self, rules: Rules, pusher: str) -> list[str]:
        """Write the repository's settings, so that the branch moves by the rules alone; safe to do again.

        Args:
            rules: What is required.
            pusher: Who may push to the branch all the same.

        Returns:
            A sentence for each thing that was written, or that this forge cannot do.
        """

    @abstractmethod
    def standing(self, rules: Rules) -> Standing:
        """What the token is worth, and what of the rules the repository has; nothing is changed by asking."""

    def keep(self, branch: str, title: str, body: str, labels: Sequence[str] = ()) -> Kept:
        """Open the pull request from a branch, or bring the open one up to date.

        Raises:
            BadInputError: The forge refuses: token, rights, or what was asked.
            OutageError: It does not answer, or limits how often it may be asked.
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
            # One that was closed or merged since it was looked for can still be written to.
            if pull and pull.state == "merged":
                return Kept(number=pull.number, url=pull.url, outcome="merged")
            if pull and pull.state == "open":
                return Kept(
                    number=pull.number, url=pull.url, outcome=outcome, unlabelled=self._unlabelled(pull, labels)
                )
        raise OutageError(f"The pull request from {branch} keeps changing: run the same command again.")

    def close(self, branch: str, why: str) -> PullRequest | None:
        """Close the open pull request from a branch with a comment that says why; None where there was none.

        Cut off in between, it is open still and has its comment; the next try closes it, and says nothing twice.
        """
        pull = self.open_from(branch)
        if pull is None:
            return None
        if why not in self.comments(pull):
            self.comment(pull, why)
        self.shut(pull)
        return pull

    def _unlabelled(self, pull: PullRequest, labels: Sequence[str]) -> str:
        """A pull request without its labels is still the one that was asked for."""
        if missing := [name for name in labels if name not in pull.labels]:
            try:
                self.label(pull, missing)
            except BadInputError as error:
                return str(error)
        return ""
