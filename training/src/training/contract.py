"""The contract of a model with its callers, read from the description that MLflow keeps with it."""

from typing import Any

from msgspec import Struct

from modelformat.mlmodel import Label, Task, parse_mlmodel


class Contract(Struct, frozen=True):
    """What callers rely on; a change of it raises the major release number.

    `features` are names and types, `optional` the names of features whose value may be missing. `probabilities` is true
    if a classifier gives probabilities.
    """

    task: Task
    classes: tuple[Label, ...]
    features: tuple[tuple[str, str], ...]
    optional: tuple[str, ...] = ()
    probabilities: bool = True


def contract_of(description: dict[str, Any]) -> Contract:
    """Return the contract that an MLmodel file describes.

    Raises:
        ValueError: The file does not follow the format.
    """
    found = parse_mlmodel(description)
    return Contract(
        found.metadata.task,
        found.metadata.classes,
        tuple((column.name, column.type) for column in found.inputs),
        tuple(column.name for column in found.inputs if not column.required),
        found.metadata.labels != "only",
    )
