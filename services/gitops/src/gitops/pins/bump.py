"""Bump the pins of services, or of the platform's own images: check them, and write them into their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gitops.errors import BadInputError, NotWantedError
from gitops.git.snapshot import Edit, Proposal, Snapshot, Verb
from gitops.pins.charts import Chart
from gitops.pins.each import for_each, for_machines
from gitops.pins.images import image_changes, pins_file, with_image
from gitops.pins.registry import Candidate
from gitops.pins.release import (
    Change,
    Image,
    Model,
    Notes,
    Release,
    changes,
    knows_batches,
    knows_releases,
    parse_image,
    written,
)
from gitops.pins.wording import commit_message, trained_because, what_moved
from gitops.platform.targets import PLATFORM, Target


class Pins(Struct, frozen=True, kw_only=True):
    """What to pin; None keeps the present pin. Images are references for `parse_image`.

    `batch_image` belongs to the image: a new image without it removes that pin.
    """

    image: str | None = None
    batch_image: str | None = None
    candidate: Candidate | None = None
    chart: Chart | None = None


def bump_services(name: str, pins: Pins) -> Edit:
    """Return the edit that pins services to new content, or pins one for the first time; a commit for each.

    Args:
        name: ENV/SERVICE, or ENV for all of its services that are released and not held. Empty for the services of
            every environment without `from`; with a model, only those that serve it.
        pins: What to pin.

    The edit raises:
        BadInputError: There is no such target, promotion moves its pins, a first release lacks a pin, or a pin is
            invalid.
        NotWantedError: The name means one service, and it is held.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        if not name:
            model = pins.candidate.model.name if pins.candidate else None
            return for_machines("bump", snapshot, model, lambda target: _bumped(snapshot, target, pins))
        return for_each("bump", snapshot, name, lambda target: _bumped(snapshot, target, pins))

    return edit


def bump_platform(images: Mapping[str, Image]) -> Edit:
    """Return the edit that pins images of the platform's own parts, by name: `mlflow`, `training`.

    The edit raises:
        BadInputError: There is no such part.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        files: dict[Path, str | None] = {}
        moved: list[Change] = []
        for part, image in images.items():
            path = pins_file(snapshot, part)
            text = snapshot.read(path)
            if found := image_changes(text or "", image, part, str(path)):
                moved += found
                files[path] = with_image(text, image, str(path))
        names = ", ".join(f"{part} {image.tag}" for part, image in images.items() if pins_file(snapshot, part) in files)
        message = commit_message(f"bump({PLATFORM}): {names}", moved)
        return [Proposal(verb="bump", subject=PLATFORM, files=files, changes=moved, message=message)]

    return edit


def proposal(
    verb: Verb,
    target: Target,
    text: str | None,
    before: Release | None,
    after: Release,
    *,
    what: str = "",
    reason: str = "",
) -> Proposal:
    """Return the commit that changes a target's release file from one release to another.

    Args:
        verb: What is done, for the subject of the commit.
        target: The service in its environment.
        text: The present content of the file, None if it does not exist.
        before: The present release.
        after: The new release.
        what: What is changed, for the subject; the default is the pins that change.
        reason: The reason, for the body of the commit.
    """
    moved = changes(before, after)
    subject = f"{verb}({target}): {what or what_moved(moved, after)}"
    files = {target.file: written(text, after, str(target.file))} if moved else {}
    message = commit_message(subject, moved, reason)
    return Proposal(verb=verb, subject=str(target), files=files, changes=moved, message=message)


def refuse_held(target: Target, release: Release | None) -> None:
    """Refuse a held service.

    Raises:
        NotWantedError: It is held.
    """
    if release and release.held is not None:
        raise NotWantedError(f"{target} is held: {release.held}. `gitops unhold {target}` lifts the hold.")


def refuse_fed(target: Target) -> None:
    """Refuse an environment that gets its pins by promotion.

    Raises:
        BadInputError: It has a `from`.
    """
    if target.environment.source:
        raise BadInputError(
            f"{target.environment.name} is fed by {target.environment.source}, so bump does not move its pins: run "
            f"gitops bump {target.environment.source}/{target.service.name}, then gitops promote {target}."
        )


def known_model(target: Target, name: str) -> None:
    """Refuse another registered model than that of the service.

    Raises:
        BadInputError: The model is a different one.
    """
    if name != target.service.model:
        raise BadInputError(
            f"--model: {target.service.name} serves {target.service.model}, as platform.yaml says, but {name} is "
            "another registered model. Give that one its own service: gitops new service NAME --model MODEL."
        )


def _bumped(snapshot: Snapshot, target: Target, pins: Pins) -> Proposal:
    refuse_fed(target)
    text, before = snapshot.release(target)
    refuse_held(target, before)
    after = _merged(before, target, pins)
    moved = pins.candidate is not None and (before is None or before.model != after.model)
    reason = trained_because(pins.candidate.reason) if pins.candidate and moved else ""
    return proposal("bump", target, text, before, after, reason=reason)


def _merged(before: Release | None, target: Target, pins: Pins) -> Release:
    chart = pins.chart
    image = _image(before, pins)
    if pins.candidate:
        known_model(target, pins.candidate.model.name)
    if before is None:
        if not (image and pins.candidate and chart):
            raise BadInputError(
                f"Nothing is released to {target} yet: its first release needs --image, --model and --chart."
            )
        notes = Notes(chart=chart.version, chart_digest=chart.digest or UNSET, metrics=pins.candidate.metrics)
        return Release(
            release=notes,
            image=_image_known_to(chart.version, image),
            model=_known_to(chart.version, pins.candidate.model),
        )
    notes = msgspec.structs.replace(
        before.release,
        chart=chart.version if chart else before.release.chart,
        chart_digest=_content(before, chart),
        metrics=pins.candidate.metrics if pins.candidate else before.release.metrics,
    )
    after = msgspec.structs.replace(
        before,
        release=notes,
        image=_image_known_to(notes.chart, image or before.image),
        model=_known_to(notes.chart, pins.candidate.model if pins.candidate else before.model),
    )
    return after.tried_beside(before.tried)


def _image(before: Release | None, pins: Pins) -> Image | None:
    """Return the image to pin, with its variant for batch scoring; None if neither is given.

    Raises:
        BadInputError: A reference is invalid, the variant is from another repository, or it has no image to belong to.
    """
    image = parse_image(pins.image, before.image.repository if before else None) if pins.image else None
    if not pins.batch_image:
        return image
    of = image or (before.image if before else None)
    if of is None:
        raise BadInputError("--batch-image needs --image: name the image that it belongs to.")
    batch = parse_image(pins.batch_image, of.repository, "--batch-image")
    if batch.repository != of.repository:
        raise BadInputError(
            f"--batch-image: {batch.repository} is not the repository of the image, {of.repository}: push both to one "
            "repository, or set batch.image in values.yaml."
        )
    return msgspec.structs.replace(of, batch_digest=batch.digest)


def _content(before: Release, chart: Chart | None) -> str | UnsetType | None:
    """Return the chart's digest to pin: that of an earlier version must not stay."""
    if chart and chart.digest:
        return chart.digest
    return before.release.chart_digest if chart is None or chart.version == before.release.chart else UNSET


def _image_known_to(chart: str, image: Image) -> Image:
    """Return an image without fields that the schema of this version of the chart refuses."""
    return image if knows_batches(chart) else msgspec.structs.replace(image, batch_digest=UNSET)


def _known_to(chart: str, model: Model) -> Model:
    """Return a model without fields that the schema of this version of the chart refuses."""
    return model if knows_releases(chart) else msgspec.structs.replace(model, release=UNSET)
