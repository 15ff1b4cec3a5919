"""Images of the platform's own parts: read and edit their pins in envs/platform/pins/NAME.yaml."""

from pathlib import Path
from typing import Any

import msgspec

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.git.snapshot import Snapshot
from gitops.pins.release import Change, Image
from gitops.pins.yaml_edit import edited
from gitops.platform.targets import ENVS, PLATFORM

# Upstream has no files in this folder, so its next version merges without conflicts.
PINS = ENVS / PLATFORM / "pins"
_CHARTS = Path("charts")
_HEADING = "# Written by `gitops bump platform`; tuning belongs into ../{name}.\n"
_PARTS = ("repository", "tag", "digest")


def pins_file(snapshot: Snapshot, part: str) -> Path:
    """Return the path of the file that pins the image of a shared part.

    Raises:
        BadInputError: There is no such part, or its chart has no image to pin.
    """
    values = _CHARTS / part / "values.yaml"
    defaults = snapshot.read(values)
    if defaults is None or not _image_in(defaults, str(values)).get("repository"):
        raise BadInputError(
            f"--image: the platform has no part {part!r} with an image to pin: {values} has no image.repository."
        )
    return PINS / f"{part}.yaml"


def with_image(text: str | None, image: Image, name: str) -> str:
    """Return a pins file's content with another image; the rest does not change, including comments.

    Args:
        text: The present content; None if the file does not exist.
        image: The image to pin.
        name: The name of the file, for an error.

    Raises:
        BadInputError: The present content cannot be edited.
    """
    wanted = {"image": {**_image_in(text or "", name), **msgspec.to_builtins(image)}}
    content = edited(text or "", wanted, name)
    return content if text is not None else _HEADING.format(name=Path(name).name) + content


def image_changes(text: str, image: Image, part: str, name: str) -> list[Change]:
    """Return the fields of an image pin that would change.

    Raises:
        BadInputError: The present content is not a mapping with an image.
    """
    before, after = _image_in(text, name), msgspec.to_builtins(image)
    return [
        Change(pin=f"{part}.image.{field}", before=before.get(field) or None, after=after[field])
        for field in _PARTS
        if before.get(field) != after[field]
    ]


def _image_in(text: str, name: str) -> dict[str, Any]:
    try:
        values = loaded(text) or {}
    except YAMLError as error:
        raise BadInputError(f"{name} is not valid YAML: {error}.") from None
    image = values.get("image", {}) if isinstance(values, dict) else None
    if not isinstance(image, dict):
        raise BadInputError(f"{name} does not name an image: remove the file, and bump again.")
    return image
