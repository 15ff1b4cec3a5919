"""Select the forge of a fork: `forge` in platform.yaml names it."""

import os
import re
from pkgutil import resolve_name
from typing import Protocol

from gitops.errors import BadInputError
from gitops.forge.api import Variables
from gitops.forge.protocol import Forge
from gitops.platform.forges import FORGES, ForgeKind
from gitops.platform.model import Platform


class Adapter(Protocol):
    """The class that talks to a kind of forge.

    Attributes:
        variables: The variables of the environment that it reads.
    """

    variables: Variables

    def __call__(self, api: str, slug: str, token: str, base: str) -> Forge:
        """Take where the API is, which repository it is asked about, and into which branch."""


def adapter(kind: ForgeKind) -> Adapter:
    """The adapter of a kind of forge; the others are not imported."""
    found: Adapter = resolve_name(FORGES[kind].adapter)
    return found


def token_variable(platform: Platform) -> str:
    """Return the environment variable for the token of a fork's forge."""
    return adapter(platform.forge_kind).variables.token


def forge(platform: Platform) -> Forge | None:
    """Return the forge of a fork; None if the environment has no token for it.

    Raises:
        BadInputError: The token has characters that no token has.
    """
    found, facts = adapter(platform.forge_kind), FORGES[platform.forge_kind]
    variables = found.variables
    token = os.environ.get(variables.token, "").strip()
    if not token:
        return None
    if not re.fullmatch(r"[!-~]+", token):
        # Check here, because a later error would show the token.
        raise BadInputError(
            f"{variables.token} holds characters that a token cannot have, such as spaces or line ends."
        )
    base = platform.forge_url
    api = os.environ.get(variables.api) or platform.forge_api or facts.central.get(base) or f"{base}{facts.api}"
    return found(api, os.environ.get(variables.repository) or platform.slug, token, platform.branch)


def needed_forge(platform: Platform, what: str, instead: str) -> Forge:
    """Return the forge of a fork, for a command that needs it.

    Args:
        platform: The content of platform.yaml.
        what: What needs it: a command or an option.
        instead: What to do without a token, as a sentence.

    Raises:
        BadInputError: As for `forge`, or there is no token.
    """
    found = forge(platform)
    if found is None:
        raise BadInputError(
            f"{what} needs {token_variable(platform)}, with the rights to write contents and pull requests. {instead}"
        )
    return found
