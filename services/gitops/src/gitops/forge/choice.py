"""Which forge a fork is on: `forge` in platform.yaml says it, and its adapter does the rest."""

import os
import re
from collections.abc import Mapping

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.forge.gitea import Gitea
from gitops.forge.github import GitHub
from gitops.forge.gitlab import GitLab
from gitops.forge.protocol import Forge
from gitops.platform.model import ForgeKind, Platform


class _Kind(Struct, frozen=True, kw_only=True):
    """A kind of forge: its adapter, and where its API is below its address.

    `central` is the forge that gives the kind its name, whose API is elsewhere.
    """

    adapter: type[GitHub | GitLab | Gitea]
    below: str
    central: Mapping[str, str] = {}


_KINDS: Mapping[ForgeKind, _Kind] = {
    "github": _Kind(adapter=GitHub, below="/api/v3", central={"https://github.com": "https://api.github.com"}),
    "gitlab": _Kind(adapter=GitLab, below="/api/v4"),
    "gitea": _Kind(adapter=Gitea, below="/api/v1"),
}


def token_variable(platform: Platform) -> str:
    """The variable of the environment that holds the token for a fork's forge."""
    return _KINDS[platform.forge_kind].adapter.variables.token


def forge(platform: Platform) -> Forge | None:
    """The forge of a fork; None where the environment holds no token for it.

    Raises:
        BadInputError: The token is not one.
    """
    kind = _KINDS[platform.forge_kind]
    variables = kind.adapter.variables
    token = os.environ.get(variables.token, "").strip()
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        # Further on it would show in the error.
        raise BadInputError(f"{variables.token} holds characters that no token has, such as spaces or line ends.")
    base = platform.forge_url
    api = os.environ.get(variables.api) or platform.forge_api or kind.central.get(base) or f"{base}{kind.below}"
    return kind.adapter(api, os.environ.get(variables.repository) or platform.slug, token, platform.branch)


def needed_forge(platform: Platform, what: str, instead: str) -> Forge:
    """The forge of a fork, for a command that cannot do without.

    Args:
        platform: The fork.
        what: What needs it: a command or an option.
        instead: The way out, as a sentence.

    Raises:
        BadInputError: As `forge`, or there is no token.
    """
    found = forge(platform)
    if found is None:
        raise BadInputError(
            f"{what} needs {token_variable(platform)}, with the rights to write contents and pull requests. {instead}"
        )
    return found
