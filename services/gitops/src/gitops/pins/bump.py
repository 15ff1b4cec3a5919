"""Move the pins of an environment, or of the platform's own images: checked, and written into their files."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gitops.errors import BadInputError, NotWantedError
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.images import image_changes, platform_file, with_image
from gitops.pins.registry import Candidate
from gitops.pins.release import Change, ChartVersion, Image, Notes, Release, changes, written
from gitops.pins.wording import commit_message, what_moved
from gitops.platform.environments import release_file


class Pins(Struct, frozen=True, kw_only=True):
    """What to pin; None keeps what is pinned now."""

    image: Image | None = None
    candidate: Candidate | None = None
    chart: str | None = None


def bump(environment: str, pins: Pins) -> Edit:
    """The edit that pins an environment to something else, or pins it for the first time.

    The edit raises:
        BadInputError: There is no such environment, the first release lacks a pin, or the chart is no version.
        NotWantedError: The environment is held.
    """

    def edit(snapshot: Snapshot) -> Proposal:
        text, before = snapshot.release(environment)
        refuse_held(environment, before)
        return proposal("bump", environment, text, before, _merged(before, environment, pins))

    return edit


def bump_platform(images: Mapping[str, Image]) -> Edit:
    """The edit that pins images of the platform's own parts, by the names of their files in envs/platform.

    The edit raises:
        BadInputError: There is no such part, or it has no image to pin.
    """

    def edit(snapshot: Snapshot) -> Proposal:
        files: dict[Path, str] = {}
        moved: list[Change] = []
        for app, image in images.items():
            path = platform_file(app)
            text = snapshot.read(path)
            if text is None:
                raise BadInputError(f"--image: the platform has no {app!r}: there is no {path}.")
            if found := image_changes(text, image, app):
                moved += found
                files[path] = with_image(text, image, str(path))
        names = ", ".join(f"{app} {image.tag}" for app, image in images.items() if platform_file(app) in files)
        return Proposal(files=files, changes=moved, message=commit_message(f"bump(platform): {names}", moved))

    return edit


def proposal(
    verb: str,
    environment: str,
    text: str | None,
    before: Release | None,
    after: Release,
    *,
    what: str = "",
    reason: str = "",
) -> Proposal:
    """The commit that takes an environment's release file from one release to another.

    Args:
        verb: What is done, for the commit's subject.
        environment: The environment.
        text: The file's content so far, None where there is none.
        before: What the content so far holds.
        after: What it is to hold.
        what: What is done it to, for the subject; by default the pins that move.
        reason: Why, for the commit's body.
    """
    file, moved = release_file(environment), changes(before, after)
    subject = f"{verb}({environment}): {what or what_moved(moved, after)}"
    files = {file: written(text, after, str(file))} if moved else {}
    return Proposal(files=files, changes=moved, message=commit_message(subject, moved, reason))


def refuse_held(environment: str, release: Release | None) -> None:
    """Leave a held environment alone.

    Raises:
        NotWantedError: It is held.
    """
    if release and release.held is not None:
        raise NotWantedError(f"{environment} is held: {release.held}. `gitops unhold {environment}` lifts it.")


def _merged(before: Release | None, environment: str, pins: Pins) -> Release:
    chart = _checked_chart(pins.chart)
    if before is None:
        if not (pins.image and pins.candidate and chart):
            raise BadInputError(
                f"Nothing is released to {environment} yet: the first release needs --image, --model and --chart."
            )
        notes = Notes(chart=chart, metrics=pins.candidate.metrics)
        return Release(release=notes, image=pins.image, model=pins.candidate.model)
    notes = msgspec.structs.replace(
        before.release,
        chart=chart or before.release.chart,
        metrics=pins.candidate.metrics if pins.candidate else before.release.metrics,
    )
    return Release(
        release=notes,
        image=pins.image or before.image,
        model=pins.candidate.model if pins.candidate else before.model,
    )


def _checked_chart(version: str | None) -> str | None:
    try:
        return msgspec.convert(version, ChartVersion | None)
    except msgspec.ValidationError:
        raise BadInputError(f"--chart: {version!r} is no version such as 1.4.0.") from None
