"""Addresses of a fork's web pages."""

from urllib.parse import quote

from gitops.platform.forges import FORGES
from gitops.platform.model import Platform


def file_page(platform: Platform, path: str) -> str:
    """Return the address of a file or a folder on the fork's branch."""
    page = FORGES[platform.forge_kind].file_page
    return f"{platform.web}/{page.format(branch=quote(platform.branch), path=quote(path))}"


def new_pull_request(platform: Platform, branch: str) -> str:
    """Return the address of the form for a pull request from a branch."""
    parts = {"base": quote(platform.branch, safe=""), "branch": quote(branch, safe="")}
    return f"{platform.web}/{FORGES[platform.forge_kind].new_pull_request.format(**parts)}"
