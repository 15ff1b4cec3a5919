"""Where people find things of a fork in a browser."""

from urllib.parse import quote

from gitops.platform.forges import FORGES
from gitops.platform.model import Platform


def file_page(platform: Platform, path: str) -> str:
    """Where a person reads a file or a folder of the fork's branch."""
    page = FORGES[platform.forge_kind].file_page
    return f"{platform.web}/{page.format(branch=quote(platform.branch), path=quote(path))}"


def new_pull_request(platform: Platform, branch: str) -> str:
    """Where a person opens the pull request from a branch."""
    parts = {"base": quote(platform.branch, safe=""), "branch": quote(branch, safe="")}
    return f"{platform.web}/{FORGES[platform.forge_kind].new_pull_request.format(**parts)}"
