"""Which forge a fork is on: `forge` in platform.yaml says it, and its adapter does the rest."""

import os
import re
from collections.abc import Mapping

from gitops.errors import BadInputError
from gitops.forge.gitea import Gitea
from gitops.forge.github import GitHub
from gitops.forge.gitlab import GitLab
from gitops.forge.protocol import Forge
from gitops.platform.forges import FORGES, ForgeKind
from gitops.platform.model import Platform

_ADAPTERS: Mapping[ForgeKind, type[GitHub | GitLab | Gitea]] = {"github": GitHub, "gitlab": GitLab, "gitea": Gitea}


def token_variable(platform: Platform) -> str:
    """The variable of the environment that holds the token for a fork's forge."""
    return _ADAPTERS[platform.forge_kind].variables.token


def forge(platform: Platform) -> Forge | None:
    """The forge of a fork; None where the environment holds no token for it.

    Raises:
        BadInputError: The token is not one.
    """
    adapter, facts = _ADAPTERS[platform.forge_kind], FORGES[platform.forge_kind]
    variables = adapter.variables
    token = os.environ.get(variables.token, "").strip()
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        # Further on it would show in the error.
        raise BadInputError(
            f"{variables.token} holds characters that a token cannot have, such as spaces or line ends."
        )
    base = platform.forge_url
    api = os.environ.get(variables.api) or platform.forge_api or facts.central.get(base) or f"{base}{facts.api}"
    return adapter(api, os.environ.get(variables.repository) or platform.slug, token, platform.branch)


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
