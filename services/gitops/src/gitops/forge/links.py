"""Where people find things of a fork in a browser."""

from collections.abc import Mapping
from urllib.parse import quote

from gitops.platform.model import ForgeKind, Platform

_NEW: Mapping[ForgeKind, str] = {
    "github": "compare/{base}...{branch}?expand=1",
    "gitlab": "-/merge_requests/new?merge_request%5Bsource_branch%5D={branch}&merge_request%5Btarget_branch%5D={base}",
    "gitea": "compare/{base}...{branch}",
}

_FILE: Mapping[ForgeKind, str] = {
    "github": "blob/{branch}/{path}",
    "gitlab": "-/blob/{branch}/{path}",
    "gitea": "src/branch/{branch}/{path}",
}


def file_page(platform: Platform, path: str) -> str:
    """Where a person reads a file or a folder of the fork's branch."""
    return f"{platform.web}/{_FILE[platform.forge_kind].format(branch=quote(platform.branch), path=quote(path))}"


def new_pull_request(platform: Platform, branch: str) -> str:
    """Where a person opens the pull request from a branch."""
    parts = {"base": quote(platform.branch, safe=""), "branch": quote(branch, safe="")}
    return f"{platform.web}/{_NEW[platform.forge_kind].format(**parts)}"
