"""Check the setup of a fork at its forge: token, rights, protection of the branch, webhook."""

from collections.abc import Iterator
from datetime import date
from typing import Literal

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.forge.choice import token_variable
from gitops.forge.protocol import Forge, Guards, Standing
from gitops.forge.rules import Rules
from gitops.git.trunk import Trunk
from gitops.platform.model import Platform
from gitops.programs import ProgramFailedError

PARTS = ("token", "rights", "push", "protection", "webhook")
Part = Literal["token", "rights", "push", "protection", "webhook"]
# Days. A token that expires sooner is reported, so that there is time to make a new one.
_SOON = 14
# The path at which Argo CD's API server receives webhooks.
_HOOK = "/api/webhook"


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check; `unseen` means that this token may not see it."""

    part: Part
    state: Literal["there", "missing", "unseen"]
    text: str


def examine(platform: Platform, forge: Forge | None, trunk: Trunk, rules: Rules, today: date) -> list[Finding]:
    """Check everything; without a valid token, skip the checks that need it.

    Raises:
        OutageError: The forge or the remote does not answer.
    """
    variable = token_variable(platform)
    pushed = _pushed(trunk)
    if forge is None:
        text = f"{variable} is not set: promote, --pr and branch-protection need a token for {platform.forge_url}."
        return [Finding(part="token", state="missing", text=text), pushed]
    try:
        standing = forge.standing(rules)
    except BadInputError as error:
        return [Finding(part="token", state="missing", text=str(error)), pushed]
    return [
        _token(standing, variable, today),
        *_rights(standing, variable),
        pushed,
        *_protection(standing.guards, rules, platform.branch),
        _webhook(standing),
    ]


def _token(standing: Standing, variable: str, today: date) -> Finding:
    whose = f"that of {standing.who}" if standing.who else "that of an App, or does not show its user"
    if standing.expires is None:
        return Finding(part="token", state="there", text=f"{variable} is {whose}, and does not show when it expires.")
    left = (standing.expires - today).days
    if left < _SOON:
        text = f"{variable} is {whose}, and expires on {standing.expires}: make a new one."
        return Finding(part="token", state="missing", text=text)
    return Finding(part="token", state="there", text=f"{variable} is {whose}, and is valid until {standing.expires}.")


def _rights(standing: Standing, variable: str) -> Iterator[Finding]:
    wanted = {
        "push branches": standing.may_push,
        "open pull requests": standing.may_open,
        "comment on pull requests": standing.may_comment,
    }
    for what, may in wanted.items():
        if not may:
            yield Finding(part="rights", state="missing", text=f"{variable} may not {what}.")
    if all(wanted.values()):
        yield Finding(part="rights", state="there", text=f"{variable} may {', '.join(wanted)}.")


def _pushed(trunk: Trunk) -> Finding:
    """Check with a dry-run push whether git's own credentials may push from this clone."""
    commit = trunk.newest().commit
    try:
        trunk.repository.git("push", "--dry-run", "--quiet", trunk.remote, f"{commit}:refs/heads/gitops-doctor")
    except ProgramFailedError as error:
        reason = error.errors.splitlines()[-1] if error.errors else "no reason given"
        text = f"git may not push to {trunk.remote}: {reason}"
        return Finding(part="push", state="missing", text=text)
    return Finding(part="push", state="there", text=f"git may push to {trunk.remote}.")


def _protection(guards: Guards | None, rules: Rules, branch: str) -> Iterator[Finding]:
    if guards is None:
        text = f"This token may not read how {branch} is protected: use one that administers the repository."
        yield Finding(part="protection", state="unseen", text=text)
        return
    way_out = "gitops branch-protection writes it."
    missing = []
    if not guards.protected:
        missing.append(f"Everybody with write access can push to {branch}: {way_out}")
    elif guards.approvals is not None and guards.approvals < rules.approvals:
        missing.append(f"A merge into {branch} needs {guards.approvals} approvals, not {rules.approvals}: {way_out}")
    elif guards.approvals is None:
        text = f"It is not known whether a merge into {branch} needs approvals; the free GitLab requires none."
        yield Finding(part="protection", state="unseen", text=text)
    if guards.protected and guards.limited is False:
        missing.append(f"A push to {branch} may contain other files than {', '.join(rules.machine_paths)}: {way_out}")
    if guards.unchecked:
        missing.append(f"A merge into {branch} does not wait for {', '.join(guards.unchecked)}: {way_out}")
    for text in missing:
        yield Finding(part="protection", state="missing", text=text)
    if not missing:
        text = f"{branch} changes only by pull requests that pass the checks."
        yield Finding(part="protection", state="there", text=text)


def _webhook(standing: Standing) -> Finding:
    if standing.hooks is None:
        text = "This token may not read the repository's webhooks: use one that administers the repository."
        return Finding(part="webhook", state="unseen", text=text)
    if any(address.split("?")[0].rstrip("/").endswith(_HOOK) for address in standing.hooks):
        return Finding(part="webhook", state="there", text="A webhook reports pushes to Argo CD.")
    text = (
        f"No webhook reports pushes to Argo CD (https://ARGOCD{_HOOK}), so Argo CD looks once a minute: "
        "docs/forges.md#the-webhook says how to add one."
    )
    return Finding(part="webhook", state="missing", text=text)
