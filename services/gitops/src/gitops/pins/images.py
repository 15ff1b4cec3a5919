"""The images of the platform's own parts: their pins in envs/platform/pins/NAME.yaml, reading and editing them."""

from pathlib import Path
from typing import Any

import msgspec

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.git.snapshot import Snapshot
from gitops.pins.release import Change, Image
from gitops.pins.yaml_edit import edited
from gitops.platform.targets import ENVS, PLATFORM

# In files of their own, which upstream never changes: a merge of its next version conflicts nowhere.
PINS = ENVS / PLATFORM / "pins"
_CHARTS = Path("charts")
_HEADING = "# Written by `gitops bump platform`; tuning belongs into ../{name}.\n"
_PARTS = ("repository", "tag", "digest")


def pins_file(snapshot: Snapshot, part: str) -> Path:
    """Where the image of a shared part is pinned.

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
    """Return a pins file's content with another image; everything else stays, comments included.

    Args:
        text: The content so far; None where there is no file yet.
        image: The image to pin.
        name: What to call the file in an error.

    Raises:
        BadInputError: The content so far cannot be edited.
    """
    wanted = {"image": {**_image_in(text or "", name), **msgspec.to_builtins(image)}}
    content = edited(text or "", wanted, name)
    return content if text is not None else _HEADING.format(name=Path(name).name) + content


def image_changes(text: str, image: Image, part: str, name: str) -> list[Change]:
    """The parts of an image pin that would change.

    Raises:
        BadInputError: The content so far is not a mapping with an image.
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
