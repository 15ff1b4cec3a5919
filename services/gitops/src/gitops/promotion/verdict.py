"""Decide from plain values whether the pins that are proposed for a target are allowed."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from gitops.errors import BadInputError
from gitops.pins.history import Step, ever_ran, same_pins
from gitops.pins.release import Change, Release, changes, read_release
from gitops.platform.targets import Target


class Proposed(Struct, frozen=True, kw_only=True):
    """A proposed change of one target.

    `before` and `feeding` are the releases of the target and its source at the base. `earlier` and `fed_by` are the
    steps of both in the history of the base, the newest first. `after` is the proposed text, None if the file is
    removed. `leaves` says that platform.yaml loses the service or the environment too.
    """

    target: Target
    source: Target
    before: Release | None
    after: str | Release | None
    feeding: Release | None
    earlier: Sequence[Step]
    fed_by: Sequence[Step] = ()
    leaves: bool = False

    def of(self, after: str | Release | None) -> "Proposed":
        """Return the same with other proposed pins."""
        return msgspec.structs.replace(self, after=after)


class Verdict(Struct, frozen=True, kw_only=True):
    """The decision: `problems` is empty if the change is allowed; `origin` says where the pins come from."""

    problems: Sequence[str]
    changes: Sequence[Change]
    origin: str


def judge(proposed: Proposed) -> Verdict:
    """Judge a proposed change of one target."""
    target, after = proposed.target, proposed.after
    if after is None:
        if proposed.leaves or proposed.before is None:
            return Verdict(problems=[], changes=[], origin="removed")
        problem = (
            f"{target.file} is deleted, which would remove {target}: remove the service or the environment (gitops "
            "remove), or keep its pins."
        )
        return Verdict(problems=[problem], changes=[], origin="none")
    if isinstance(after, str):
        try:
            after = read_release(after, str(target.file))
        except BadInputError as error:
            return Verdict(problems=[str(error)], changes=[], origin="none")
    origin, found = _origin(proposed, after)
    problems = [*found, *_holds(proposed, after), *_shadow(proposed, after)]
    return Verdict(problems=problems, changes=changes(proposed.before, after), origin=origin)


def _origin(proposed: Proposed, after: Release) -> tuple[str, list[str]]:
    """Return where the pins come from. Their metrics must come from there too, because people decide by them."""
    target, source = proposed.target, proposed.source
    origins = [("unchanged", proposed.before), (str(source), proposed.feeding)]
    origins += [(f"{target} at {step.commit.sha[:7]}", step.release) for step in proposed.earlier]
    same = [(name, release) for name, release in origins if release and same_pins(release, after)]
    if not same:
        problem = (
            f"The pins of {target} would be neither those of {source} nor any that it ran: pins reach {target} only "
            f"through {source}, by gitops promote."
        )
        return "none", [problem]
    for name, release in same:
        if release.release.metrics == after.release.metrics:
            return name, []
    return same[0][0], [f"The metrics of {target} differ from those next to these pins in {same[0][0]}."]


def _holds(proposed: Proposed, after: Release) -> list[str]:
    target, before, feeding = proposed.target, proposed.before, proposed.feeding
    if before is None or same_pins(before, after):
        return []
    problems = []
    if before.held is not None and after.release.hold in (None, before.release.hold):
        # A rollback may change held pins; it writes a new hold.
        problems.append(f"{target} is held ({before.held}): its pins move only after `gitops unhold {target}`.")
    ran_before = any(same_pins(step.release, after) for step in proposed.earlier)
    if not ran_before and feeding is not None and feeding.held is not None:
        problems.append(
            f"{proposed.source} is held ({feeding.held}): its pins cannot be promoted before gitops unhold."
        )
    return problems


def _shadow(proposed: Proposed, after: Release) -> list[str]:
    """Return problems with a new shadow: it must be the only change, and must have run in the source environment."""
    target, source, before, shadow = proposed.target, proposed.source, proposed.before, after.tried
    if shadow is None or (before and before.tried == shadow):
        return []
    problems = []
    if before is None or before.tried_beside(None) != after.tried_beside(None):
        problems.append(
            f"A change of the shadow of {target} must change nothing else: change its pins, hold and metrics in other "
            "pull requests."
        )
    if before and before.held is not None:
        problems.append(f"{target} is held ({before.held}): it gets a shadow only after `gitops unhold {target}`.")
    if before and before.tried and shadow.is_model(before.tried):
        # Only the share of requests changes.
        return problems
    if before and shadow.is_model(before.model):
        problems.append(f"The shadow of {target} is the version that answers: there would be nothing to compare.")
    if proposed.feeding and proposed.feeding.held is not None:
        problems.append(
            f"{source} is held ({proposed.feeding.held}): its pins cannot be promoted before gitops unhold."
        )
    ran = proposed.feeding and shadow.is_model(proposed.feeding.model)
    if not ran and not ever_ran(proposed.fed_by, shadow):
        problems.append(f"The shadow of {target} never answered in {source}, which feeds it.")
    return problems
