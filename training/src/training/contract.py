"""What callers of a model rely on, read from the description that MLflow keeps with it."""

from typing import Any

from msgspec import Struct

from modelformat.mlmodel import Label, Task, parse_mlmodel


class Contract(Struct, frozen=True):
    """What callers rely on; when any of it changes, the major release number rises.

    `features` are names and types, `optional` the names of those where a value may be missing; `probabilities` says
    whether a classifier gives some.
    """

    task: Task
    classes: tuple[Label, ...]
    features: tuple[tuple[str, str], ...]
    optional: tuple[str, ...] = ()
    probabilities: bool = True


def contract_of(description: dict[str, Any]) -> Contract:
    """What an MLmodel file promises to callers.

    Raises:
        ValueError: It is not as the format says.
    """
    found = parse_mlmodel(description)
    return Contract(
        found.metadata.task,
        found.metadata.classes,
        tuple((column.name, column.type) for column in found.inputs),
        tuple(column.name for column in found.inputs if not column.required),
        found.metadata.labels != "only",
    )
