"""The images of the platform's own parts: their pins in envs/platform/NAME.yaml, reading and editing them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.pins.release import Change, Image
from gitops.pins.yaml_edit import edited
from gitops.platform.environments import ENVS, PLATFORM

_PARTS = ("repository", "tag", "digest")


def platform_file(app: str) -> Path:
    """Where the values of a shared part stand."""
    return ENVS / PLATFORM / f"{app}.yaml"


def image_in(text: str, name: str) -> Mapping[str, Any]:
    """The `image` of a values file, as it stands there.

    Raises:
        BadInputError: The file is not valid YAML, or has no image of this project's.
    """
    try:
        values = loaded(text)
    except YAMLError as error:
        raise BadInputError(f"{name} is not valid YAML: {error}.") from None
    image = values.get("image") if isinstance(values, dict) else None
    if not isinstance(image, dict) or not isinstance(image.get("repository"), str):
        raise BadInputError(f"{name} has no image.repository, so there is no image to pin.")
    return image


def with_image(text: str, image: Image, name: str) -> str:
    """Return a values file's content with another image; everything else stays, comments included.

    Args:
        text: The content so far.
        image: The image to pin.
        name: What to call the file in an error.

    Raises:
        BadInputError: The content so far has no image, or cannot be edited.
    """
    return edited(text, {"image": {**image_in(text, name), **msgspec.to_builtins(image)}}, name)


def image_changes(text: str, image: Image, app: str) -> list[Change]:
    """The parts of an image pin that would change."""
    before, after = image_in(text, str(platform_file(app))), msgspec.to_builtins(image)
    return [
        Change(pin=f"{app}.image.{part}", before=before.get(part) or None, after=after[part])
        for part in _PARTS
        if before.get(part) != after[part]
    ]
