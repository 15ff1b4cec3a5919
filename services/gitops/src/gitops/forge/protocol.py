"""What the commands ask of a forge, whichever it is: one rolling pull request a branch, and addresses for people."""

from typing import Literal, Protocol

from msgspec import Struct


class PullRequest(Struct, frozen=True, kw_only=True):
    """An open pull request; what some forges call a merge request is one too."""

    number: int
    url: str
    title: str = ""
    body: str = ""


class Kept(Struct, frozen=True, kw_only=True):
    """The pull request as it is now, and what was done to have it so."""

    number: int
    url: str
    outcome: Literal["opened", "updated", "unchanged"]


class PullRequests(Protocol):
    """The pull requests of one repository into one branch.

    Every call raises BadInputError where the forge refuses, and OutageError where it does not answer.
    """

    def open_from(self, branch: str) -> PullRequest | None:
        """The open pull request from a branch, if any."""

    def keep(self, branch: str, title: str, body: str) -> Kept:
        """Open the pull request from a branch, or bring the open one up to date."""

    def comment(self, pull: PullRequest, text: str) -> None:
        """Say something below a pull request."""

    def close(self, branch: str, why: str) -> PullRequest | None:
        """Close the open pull request from a branch with a comment that says why; None where there was none."""
