"""Whether a model is what its MLmodel file says: as many columns, in that order, and its classes in that order."""

from collections.abc import Sequence
from typing import Any

from serving.errors import ModelUnusableError
from serving.signature import ModelSpec

_SHOWN = 5


def check_width(spec: ModelSpec, width: object, what: str) -> None:
    """Compares the number of columns, where `what` names one.

    Raises:
        ModelUnusableError: when the signature has another.
    """
    if isinstance(width, int) and width != len(spec.columns):
        raise ModelUnusableError(
            f"its signature has {_columns(len(spec.columns))}, but {what} takes {width}: register it with a signature "
            "made from the data that it was fitted on"
        )


def check_columns(spec: ModelSpec, names: Sequence[Any], what: str) -> None:
    """Compares the order of the columns, where `what` knows their names.

    Raises:
        ModelUnusableError: when it has the same names as the signature in another order, so that values would be mixed
            up unsaid.
    """
    columns = [column.name for column in spec.columns]
    if list(names) != columns and sorted(map(str, names)) == sorted(columns):
        raise ModelUnusableError(
            f"its signature has the columns {_shown(columns)}, but {what} was fitted on {_shown(names)}: "
            "register it with the columns of the signature in that order"
        )


def check_classes(spec: ModelSpec, labels: Sequence[Any], what: str) -> None:
    """Compares the order of the classes, where `what` knows their labels.

    Other labels are left alone: a graph may know classes by their positions only, or a person have given them names.

    Raises:
        ModelUnusableError: when it has the same labels as `metadata.classes` in another order, so that every answer
            would name the wrong class.
    """
    told, known = [_key(label) for label in spec.classes], [_key(label) for label in labels]
    if told != known and sorted(told) == sorted(known):
        raise ModelUnusableError(
            f"its MLmodel file has the classes {_shown(spec.classes)} in metadata.classes, but {what} has "
            f"{_shown(labels)}: list them there in that order, or every answer names the wrong class"
        )


def _key(label: Any) -> str:
    """Labels that mean the same have the same key: 1, 1.0 and True; a numpy string and a Python string."""
    if hasattr(label, "item"):
        label = label.item()
    return str(int(label)) if isinstance(label, bool | float) and label == int(label) else str(label)


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _shown(values: Sequence[Any]) -> str:
    more = ", ..." if len(values) > _SHOWN else ""
    return "[" + ", ".join(str(value) for value in values[:_SHOWN]) + more + "]"
