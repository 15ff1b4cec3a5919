"""Move the pins of an environment: which ones a person names, checked and written into its release.yaml."""

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from gitops.environments import checked_environment, release_file
from gitops.errors import BadInputError
from gitops.files import write_whole
from gitops.mlflow_registry import Candidate
from gitops.release import Change, Image, Notes, Release, changes, load_release, written

_CHART = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?")


class Pins(Struct, frozen=True, kw_only=True):
    """What to pin; None keeps what is pinned now."""

    image: Image | None = None
    candidate: Candidate | None = None
    chart: str | None = None


class Edit(Struct, frozen=True, kw_only=True):
    """What moving pins came to; there are no changes where everything was pinned like that already."""

    environment: str
    file: str
    changes: list[Change]
    release: Release

    @property
    def message(self) -> str:
        """A commit message that names what moved."""
        moved = {change.pin.partition(".")[0] for change in self.changes}
        names = {
            "image": f"image {self.release.image.tag}",
            "model": f"{self.release.model.name} {self.release.model.version}",
            "chart": f"chart {self.release.release.chart}",
        }
        what = [text for part, text in names.items() if part in moved] or ["metrics"]
        return f"release({self.environment}): {', '.join(what)}"


def move_pins(root: Path, environment: str, pins: Pins) -> Edit:
    """Pin an environment to something else, or pin it for the first time; nothing is committed.

    Raises:
        BadInputError: There is no such environment, it is held, or the first release lacks a pin.
    """
    file = release_file(checked_environment(root, environment))
    before = load_release(root / file, file)
    if before and before.held is not None:
        raise BadInputError(
            f"{environment} is held: {before.held}. Its pins stay until release.hold in {file} is null again."
        )
    after = _merged(before, environment, pins)
    moved = changes(before, after)
    if moved:
        text = (root / file).read_text(encoding="utf-8") if before else None
        write_whole(root / file, written(text, after, environment))
    return Edit(environment=environment, file=str(file), changes=moved, release=after)


def _merged(before: Release | None, environment: str, pins: Pins) -> Release:
    if pins.chart is not None and not _CHART.fullmatch(pins.chart):
        raise BadInputError(f"--chart: {pins.chart!r} is no version such as 1.4.0.")
    if before is None:
        if not (pins.image and pins.candidate and pins.chart):
            raise BadInputError(
                f"Nothing is released to {environment} yet: the first release needs --image, --model and --chart."
            )
        notes = Notes(chart=pins.chart, metrics=pins.candidate.metrics)
        return Release(release=notes, image=pins.image, model=pins.candidate.model)
    notes = msgspec.structs.replace(
        before.release,
        chart=pins.chart or before.release.chart,
        metrics=pins.candidate.metrics if pins.candidate else before.release.metrics,
    )
    return Release(
        release=notes,
        image=pins.image or before.image,
        model=pins.candidate.model if pins.candidate else before.model,
    )
