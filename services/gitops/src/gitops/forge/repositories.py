"""What GitHub and Gitea have in common: Gitea took over the paths of GitHub's API for pull requests."""

from collections.abc import Mapping
from typing import ClassVar, Protocol
from urllib.parse import quote

from gitops.forge.api import Api
from gitops.forge.protocol import Forge, PullRequest


class Told(Protocol):
    """A pull request as an API writes it."""

    def told(self) -> PullRequest:
        """As the other modules know it."""


class RepositoryForge(Forge):
    """A repository at such an API.

    Attributes:
        pull_shape: What the API's pull requests are decoded as.
    """

    pull_shape: ClassVar[type[Told]]

    def __init__(self, api: Api, slug: str, base: str) -> None:
        """Take the API, which repository (owner/name) it is asked about, and into which branch."""
        self._api = api
        self._repository = f"/repos/{slug}"
        self._base = base

    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Give a pull request another title and body; it may have been closed meanwhile."""
        content = {"title": title, "body": body}
        return self._api.send("PATCH", f"{self._repository}/pulls/{pull.number}", content, self.pull_shape).told()

    def shut(self, pull: PullRequest) -> None:
        """Close a pull request without merging it."""
        self._api.do("PATCH", f"{self._repository}/pulls/{pull.number}", {"state": "closed"})

    def comment(self, pull: PullRequest, text: str) -> None:
        """Say something below a pull request."""
        self._api.do("POST", f"{self._repository}/issues/{pull.number}/comments", {"body": text})

    def dispatch(self, workflow: str, inputs: Mapping[str, str]) -> None:
        """Start a workflow on the branch, by the name of its file without the ending."""
        path = f"{self._repository}/actions/workflows/{quote(workflow, safe='')}.yml/dispatches"
        self._api.do("POST", path, {"ref": self._base, "inputs": dict(inputs)})
