"""Code for GitHub and Gitea, whose APIs for pull requests have the same paths."""

from collections.abc import Mapping
from typing import ClassVar, Protocol
from urllib.parse import quote

from gitops.forge.api import Api
from gitops.forge.protocol import Forge, PullRequest


class ApiPull(Protocol):
    """A pull request in the form of an API."""

    def pull_request(self) -> PullRequest:
        """Return it in the form that all forges share."""


class RepositoryForge(Forge):
    """A repository at such an API.

    Attributes:
        pull_shape: The type to decode pull requests as.
    """

    pull_shape: ClassVar[type[ApiPull]]

    def __init__(self, api: Api, slug: str, base: str) -> None:
        """Take the API, the repository (owner/name), and the target branch of pull requests."""
        self._api = api
        self._repository = f"/repos/{slug}"
        self._base = base

    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Change title and body of a pull request; it may have been closed meanwhile."""
        content = {"title": title, "body": body}
        return self._api.send(
            "PATCH", f"{self._repository}/pulls/{pull.number}", content, self.pull_shape
        ).pull_request()

    def shut(self, pull: PullRequest) -> None:
        """Close a pull request without merging it."""
        self._api.do("PATCH", f"{self._repository}/pulls/{pull.number}", {"state": "closed"})

    def comment(self, pull: PullRequest, text: str) -> None:
        """Add a comment to a pull request."""
        self._api.do("POST", f"{self._repository}/issues/{pull.number}/comments", {"body": text})

    def dispatch(self, workflow: str, inputs: Mapping[str, str]) -> None:
        """Start a workflow on the branch, by its file name without the ending."""
        path = f"{self._repository}/actions/workflows/{quote(workflow, safe='')}.yml/dispatches"
        self._api.do("POST", path, {"ref": self._base, "inputs": dict(inputs)})
