"""Which forge a fork is on: `forge` in platform.yaml says it, and its adapter does the rest."""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from gitops.errors import BadInputError
from gitops.forge.github import GitHub
from gitops.forge.protocol import PullRequests
from gitops.platform.model import ForgeKind, Platform

# None where the environment holds no token.
_ADAPTERS: Mapping[ForgeKind, Callable[[Platform], PullRequests | None]] = {"github": GitHub.from_environment}
_TOKENS: Mapping[ForgeKind, str] = {"github": "GITHUB_TOKEN"}
_NEW: Mapping[ForgeKind, str] = {
    "github": "{web}/compare/{base}...{branch}?expand=1",
    "gitlab": "{web}/-/merge_requests/new?merge_request%5Bsource_branch%5D={branch}",
    "gitea": "{web}/compare/{base}...{branch}",
}


def pull_requests(platform: Platform) -> PullRequests | None:
    """The pull requests of a fork; None where the environment holds no token, or no adapter speaks to its forge.

    Raises:
        BadInputError: The token is not one, or where the API is cannot be told.
    """
    adapter = _ADAPTERS.get(platform.forge_kind)
    return adapter(platform) if adapter else None


def needed_pull_requests(platform: Platform, what: str, instead: str) -> PullRequests:
    """The pull requests of a fork, for a command that cannot do without.

    Args:
        platform: The fork.
        what: What needs them: a command or an option.
        instead: The way out, as a sentence.

    Raises:
        BadInputError: As `pull_requests`, or there are none to be had.
    """
    kind = platform.forge_kind
    if kind not in _ADAPTERS:
        raise BadInputError(
            f"{what} opens pull requests on {', '.join(_ADAPTERS)} alone for now, and `forge` in platform.yaml is "
            f"{kind}. {instead}"
        )
    pulls = pull_requests(platform)
    if pulls is None:
        raise BadInputError(
            f"{what} needs {_TOKENS[kind]}, with the rights to write contents and pull requests. {instead}"
        )
    return pulls


def new_pull_request(platform: Platform, branch: str) -> str:
    """Where a person opens the pull request from a branch in a browser."""
    address = _NEW[platform.forge_kind]
    return address.format(web=platform.web, base=quote(platform.branch, safe=""), branch=quote(branch, safe=""))
