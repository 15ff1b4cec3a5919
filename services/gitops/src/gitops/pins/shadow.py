"""Pin another version of a service's model as a shadow, to compare its answers to the same rows."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct

from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.bump import proposal, refuse_held
from gitops.pins.history import ever_ran, steps
from gitops.pins.release import DEFAULT_SAMPLE, Model, Release, Shadow, knows_shadows
from gitops.platform.model import Platform
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target, one, source_of


class Wanted(Struct, frozen=True, kw_only=True):
    """The shadow to pin: None keeps the present version, or the present share of requests."""

    model: Model | None = None
    sample: float | None = None


def shadow_service(name: str, wanted: Wanted) -> Edit:
    """Return the edit that pins a shadow and nothing else, in any environment, because a shadow does not answer.

    Args:
        name: ENV/SERVICE.
        wanted: The shadow.

    The edit raises:
        BadInputError: There is no such target, nothing is released to it, its chart does not support shadows, the
            version is the one that answers or never ran in the source environment, or the clone lacks history.
        NotWantedError: The target or its source is held.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        platform = platform_at(snapshot)
        target = one(platform, name)
        text, before = snapshot.released(target)
        refuse_held(target, before)
        shadow = _shadow(target, before, wanted)
        if wanted.model:
            _refuse_unproved(snapshot, platform, target, shadow)
        return [_proposed(target, text, before, shadow)]

    return edit


def lift_shadow(name: str) -> Edit:
    """Return the edit that removes a shadow, even if the service is held.

    Args:
        name: ENV/SERVICE.

    The edit raises:
        BadInputError: There is no such target, or nothing is released to it.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        target = one(platform_at(snapshot), name)
        text, before = snapshot.released(target)
        return [_proposed(target, text, before, None)]

    return edit


def _proposed(target: Target, text: str, before: Release, shadow: Shadow | None) -> Proposal:
    after = before.tried_beside(shadow)
    what = f"{before.model.name} {shadow.version}, {shadow.share:.3g} of the requests" if shadow else "off"
    return proposal("shadow", target, text, before, after, what=what)


def _shadow(target: Target, before: Release, wanted: Wanted) -> Shadow:
    there = before.tried
    if wanted.model is None:
        if there is None:
            raise BadInputError(f"{target} has no shadow, so --sample cannot be changed: name a version with --model.")
        return msgspec.structs.replace(there, sample=wanted.sample or there.share)
    chart = before.release.chart
    if not knows_shadows(chart):
        raise BadInputError(
            f"{target} pins version {chart} of the serving chart, which does not support shadows: pin 0.2.0 or later "
            "first."
        )
    model = wanted.model
    shadow = Shadow(version=model.version, release=model.release or UNSET, digest=model.digest, uri=model.uri)
    if shadow.is_model(before.model):
        raise BadInputError(
            f"{target} answers with {model.name} {model.version} itself: a shadow must be another version, such as "
            "the one that you want to promote."
        )
    kept = there.share if there and shadow.is_model(there) else DEFAULT_SAMPLE
    return msgspec.structs.replace(shadow, sample=wanted.sample or kept)


def _refuse_unproved(snapshot: Snapshot, platform: Platform, target: Target, shadow: Shadow) -> None:
    """Refuse a version that never ran in the source environment, if there is one.

    The shadow loads in the pods that answer callers. Without a source, the gate must be enough.
    """
    if not target.environment.source:
        return
    source = source_of(platform, target)
    feeding = snapshot.release(source)[1]
    refuse_held(source, feeding)
    if feeding and shadow.is_model(feeding.model):
        return
    if not _ran(snapshot.repository, source, snapshot.commit, shadow):
        runs = f"runs {feeding.model.version}" if feeding else "runs nothing yet"
        first = "promote" if source.environment.source else f"bump --model {shadow.version}"
        raise BadInputError(
            f"{target.service.model} {shadow.version} never ran in {source}, which feeds {target} and {runs}. It "
            f"would load in the pods that answer callers, so it must run there first: gitops {first} {source}."
        )


def _ran(repository: Repository, source: Target, revision: str, shadow: Shadow) -> bool:
    if ever_ran(steps(repository, source, revision), shadow):
        return True
    if repository.is_shallow():
        raise BadInputError(
            f"This clone lacks older history, so what {source} ran before is not known: git fetch --unshallow (in a "
            "workflow: fetch-depth: 0)."
        )
    return False
