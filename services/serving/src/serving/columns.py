"""The columns of a model: their kinds, and what its MLmodel file says about them (see docs/model-format.md)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from modelformat.columns import KINDS, ColumnMetadata, Kind, Unknown
from serving.errors import ModelUnusableError

Value = bool | int | float | str | None

# Models compute in single precision, which ends at 3.4e38. This limit leaves them room to scale and add values.
LARGEST_NUMBER = 1e30
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The years 1 to 9999, extended by the offsets of time zones.
EARLIEST, LATEST = -62_135_682_400, 253_402_387_199
# The smallest and the largest value of each of MLflow's types.
_BOUNDS: dict[str, tuple[float, float]] = {
    "double": (-LARGEST_NUMBER, LARGEST_NUMBER),
    "float": (-LARGEST_NUMBER, LARGEST_NUMBER),
    "long": (-(2**63), 2**63 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "boolean": (0, 1),
    "string": (0, 0),
    "datetime": (EARLIEST, LATEST),
}
_SOME_TEXT = "a"


class Column(msgspec.Struct, frozen=True):
    """One input: its name, MLflow's type name, its kind, and the values that it accepts.

    `low` and `high` bound numbers. For dates they are seconds since 1970 UTC, and for text they have no meaning.
    `optional` says whether it may be null. `categories` are the texts in the training data (empty: not known), and
    `unknown` is what to do with others. The values of a `sensitive` column must not be stored.
    """

    name: str
    type: str
    kind: Kind
    low: float
    high: float
    optional: bool = False
    categories: tuple[str, ...] = ()
    unknown: Unknown = "accept"
    sensitive: bool = False

    def fitting(self, value: float) -> Value:
        """Return the valid value nearest to a number; for text, a category."""
        if self.kind == "boolean":
            return value >= 0.5
        if self.kind == "category":
            return self.categories[int(value) % len(self.categories)] if self.categories else _SOME_TEXT
        if self.kind == "datetime":
            return (EPOCH + timedelta(seconds=round(value))).isoformat().replace("+00:00", "Z")
        return round(value) if self.kind == "integer" else float(value)


def column(name: str, mlflow_type: str, *, optional: bool = False) -> Column:
    """Create a column from its entry in the signature.

    Raises:
        ModelUnusableError: if columns of its type cannot be served.
    """
    if mlflow_type not in _BOUNDS:
        known = ", ".join(_BOUNDS)
        raise ModelUnusableError(
            f"column {name!r} of its signature has type {mlflow_type}, but only {known} can be served"
        )
    return Column(name, mlflow_type, KINDS[mlflow_type], *_BOUNDS[mlflow_type], optional)


def with_metadata(columns: tuple[Column, ...], told: Sequence[ColumnMetadata]) -> tuple[Column, ...]:
    """Add what `metadata.columns` says to the columns of the signature.

    Raises:
        ModelUnusableError: if the two disagree, or `metadata.columns` contradicts itself.
    """
    if len(told) != len(columns):
        raise ModelUnusableError(
            f"its MLmodel file lists {len(told)} columns in metadata.columns, but {len(columns)} in its signature"
        )
    return tuple(_joined(index, *pair) for index, pair in enumerate(zip(columns, told, strict=True)))


def _joined(index: int, column: Column, told: ColumnMetadata) -> Column:
    field = f"metadata.columns[{index}]"
    for what in ("name", "kind", "optional"):
        here, there = getattr(told, what), getattr(column, what)
        if here != there:
            raise ModelUnusableError(
                f"its MLmodel file says in {field}.{what} that it is {_shown(here)}, but by its signature the column "
                f"{column.name!r} has {_shown(there)} there: the two must agree"
            )
    if told.kind != "category" and (told.categories or told.unknown == "refuse"):
        raise ModelUnusableError(
            f"its MLmodel file has categories or unknown: refuse in {field}, but {column.name!r} is of kind {told.kind}"
        )
    if told.unknown == "refuse" and not told.categories:
        raise ModelUnusableError(
            f"its MLmodel file refuses unknown categories of {column.name!r} in {field}.unknown, but lists none in "
            f"{field}.categories"
        )
    if "" in told.categories or len(set(told.categories)) != len(told.categories):
        raise ModelUnusableError(
            f"its MLmodel file lists an empty or a repeated category in {field}.categories of {column.name!r}"
        )
    return msgspec.structs.replace(column, categories=told.categories, unknown=told.unknown, sensitive=told.sensitive)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
