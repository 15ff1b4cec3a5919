"""Checks that a model fits its MLmodel file: the number and order of its columns, and the order of its classes."""

from collections.abc import Sequence
from typing import Any

from serving.errors import ModelUnusableError
from serving.signature import ModelSpec

_SHOWN = 5


def check_width(spec: ModelSpec, width: object, what: str) -> None:
    """Compare the number of columns, if `what` has a width.

    Raises:
        ModelUnusableError: if the signature has another number.
    """
    if isinstance(width, int) and width != len(spec.columns):
        raise ModelUnusableError(
            f"its signature has {_columns(len(spec.columns))}, but {what} takes {width}: register it with a signature "
            "made from the data that it was fitted on"
        )


def check_columns(spec: ModelSpec, names: Sequence[Any], what: str) -> None:
    """Compare the order of the columns, if `what` knows their names.

    Raises:
        ModelUnusableError: if the names are those of the signature in another order. Values would silently go to the
            wrong columns.
    """
    columns = [column.name for column in spec.columns]
    if list(names) != columns and sorted(map(str, names)) == sorted(columns):
        raise ModelUnusableError(
            f"its signature has the columns {_shown(columns)}, but {what} was fitted on {_shown(names)}: "
            "register it with the columns of the signature in that order"
        )


def check_classes(spec: ModelSpec, labels: Sequence[Any], what: str) -> None:
    """Compare the order of the classes, if `what` knows their labels.

    Different labels are accepted: a graph may know only the positions of its classes, or a person may have named them.

    Raises:
        ModelUnusableError: if the labels are those of `metadata.classes` in another order. Every answer would name the
            wrong class.
    """
    told, known = [_key(label) for label in spec.classes], [_key(label) for label in labels]
    if told != known and sorted(told) == sorted(known):
        raise ModelUnusableError(
            f"its MLmodel file has the classes {_shown(spec.classes)} in metadata.classes, but {what} has "
            f"{_shown(labels)}: list them there in that order, or every answer names the wrong class"
        )


def _key(label: Any) -> str:
    """Return the same key for labels that mean the same: 1, 1.0 and True; a numpy string and a Python string."""
    if hasattr(label, "item"):
        label = label.item()
    return str(int(label)) if isinstance(label, bool | float) and label == int(label) else str(label)


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _shown(values: Sequence[Any]) -> str:
    more = ", ..." if len(values) > _SHOWN else ""
    return "[" + ", ".join(str(value) for value in values[:_SHOWN]) + more + "]"
