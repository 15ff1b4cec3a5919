"""Read platform.yaml, and edit it without losing comments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.git.snapshot import Snapshot
from gitops.pins.yaml_edit import edited
from gitops.platform.checks import problems
from gitops.platform.model import Platform

FILE = Path("platform.yaml")
_OLD = Path("argocd/identity.yaml")


def load_platform(root: Path) -> Platform:
    """Read platform.yaml below `root`.

    Raises:
        BadInputError: The file is missing or invalid: the error has a line for each problem.
    """
    try:
        text = (root / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(_missing((root / _OLD).is_file())) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{FILE} cannot be read: {error}.") from None
    return read_platform(text)


def platform_at(snapshot: Snapshot) -> Platform:
    """Read platform.yaml of a commit.

    Raises:
        BadInputError: As for `load_platform`.
    """
    text = snapshot.read(FILE)
    if text is None:
        raise BadInputError(f"At {snapshot.commit[:7]}: {_missing(snapshot.read(_OLD) is not None)}")
    return read_platform(text)


def read_platform(text: str) -> Platform:
    """Decode platform.yaml and check it.

    Raises:
        BadInputError: It is invalid: the error has a line for each problem.
    """
    platform = decoded(text)
    if found := problems(platform):
        raise BadInputError("\n".join(f"{FILE}: {problem}" for problem in found))
    return platform


def decoded(text: str) -> Platform:
    """Decode platform.yaml without checking its values.

    Raises:
        BadInputError: It is not YAML, or a field is missing, unknown or has the wrong type.
    """
    try:
        return msgspec.convert(loaded(text), Platform)
    except YAMLError as error:
        raise BadInputError(f"{FILE} is not valid YAML: {error}.") from None
    except msgspec.ValidationError as error:
        raise BadInputError(f"{FILE}: {error}.") from None


def edited_platform(text: str, changes: Mapping[str, Any]) -> str:
    """Return platform.yaml with other values at its top level; comments and the rest stay.

    Raises:
        BadInputError: The result would be invalid, or the file cannot be edited.
    """
    result = edited(text, changes, str(FILE))
    read_platform(result)
    return result


def _missing(old_layout: bool) -> str:
    if old_layout:
        return (
            f"{FILE} is missing, but {_OLD} exists: this fork has the layout before version 0.2. Run `gitops migrate`."
        )
    return f"{FILE} is missing: restore it with `git checkout HEAD -- {FILE}`."
