"""Apply an edit to every target that ENV or ENV/SERVICE means: a problem with one service does not stop the others."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from gitops.errors import BadInputError, GitopsError, NotWantedError
from gitops.git.snapshot import Proposal, Snapshot, Verb
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target, chosen, moved_by_machines

NOTHING_RELEASED = "nothing is released there"


def for_each(verb: Verb, snapshot: Snapshot, name: str, propose: Callable[[Target], Proposal]) -> Sequence[Proposal]:
    """Make a proposal for each target that a name means.

    Args:
        verb: What is done.
        snapshot: The files to start from, with platform.yaml.
        name: ENV/SERVICE, or ENV for all of its services.
        propose: Makes the proposal for one target.

    Raises:
        BadInputError: There is no such target, or nothing is released to any of several.
        GitopsError: Any error of `propose`, if the name means a single target.
    """
    wanted = chosen(platform_at(snapshot), name)
    if not wanted:
        raise BadInputError(f"{name} has no services yet: gitops new service NAME --model MODEL.")
    if len(wanted) == 1:
        return [propose(wanted[0])]
    found = [_tried(verb, snapshot, target, propose) for target in wanted]
    if all(proposal.left_alone == NOTHING_RELEASED for proposal in found):
        raise BadInputError(
            f"Nothing is released to {name} yet. A first release names its service: "
            f"gitops bump {wanted[0]} --image ... --model ... --chart ..., or gitops promote where another environment "
            "feeds it."
        )
    return found


def for_machines(
    verb: Verb, snapshot: Snapshot, model: str | None, propose: Callable[[Target], Proposal]
) -> Sequence[Proposal]:
    """Make a proposal for each target that automation bumps; it is no error if there is none, or if one is held.

    Args:
        verb: What is done.
        snapshot: The files to start from, with platform.yaml.
        model: Only for services of this registered model.
        propose: Makes the proposal for one target.
    """
    found = [_tried(verb, snapshot, target, propose) for target in moved_by_machines(platform_at(snapshot), model)]
    return [replace(entry, exit_code=0) if entry.exit_code == NotWantedError.exit_code else entry for entry in found]


def _tried(verb: Verb, snapshot: Snapshot, target: Target, propose: Callable[[Target], Proposal]) -> Proposal:
    if snapshot.read(target.file) is None:
        return Proposal(verb=verb, subject=str(target), left_alone=NOTHING_RELEASED)
    try:
        return propose(target)
    except GitopsError as error:
        return Proposal(verb=verb, subject=str(target), left_alone=str(error), exit_code=error.exit_code)
