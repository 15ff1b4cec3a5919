"""What callers of a model rely on, read from the description that MLflow keeps with it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from training.settings import Label, Task


class Contract(Struct, frozen=True):
    """Task, labels, columns (name and type), and the names of those where a value may be missing.

    When any of it changes, the major release number rises.
    """

    task: Task
    classes: tuple[Label, ...]
    features: tuple[tuple[str, str], ...]
    optional: tuple[str, ...] = ()


def contract_of(description: dict[str, Any]) -> Contract:
    """What an MLmodel file promises to callers.

    Raises:
        KeyError: The description lacks something that the format asks for.
        TypeError: Something in it is of another kind than the format says.
        ValueError: It speaks of an unknown task.
    """
    metadata = description["metadata"]
    columns = msgspec.json.decode(description["signature"]["inputs"])
    classes: Sequence[Label] = metadata.get("classes", ())
    if metadata["task"] not in ("classification", "regression"):
        raise ValueError(f"unknown task {metadata['task']!r}")
    return Contract(
        metadata["task"],
        tuple(classes),
        tuple((column["name"], column["type"]) for column in columns),
        tuple(column["name"] for column in columns if not column.get("required", True)),
    )
