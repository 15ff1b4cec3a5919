"""Columns that a model does not learn from, but that describe rows: their time, group or weight."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from training.errors import BadInputError
from training.settings import suggestion
from training.values import UnusableError, values_of

Aside = Literal["time", "group", "weights"]
_SETTINGS: dict[Aside, str] = {"time": "split.time", "group": "split.group", "weights": "weights"}


def without_aside(
    table: pd.DataFrame, target: str, names: Mapping[Aside, str], source: str
) -> tuple[pd.DataFrame, dict[Aside, np.ndarray]]:
    """Return a table without these columns, and their values: times and weights as float64, groups as integers.

    Raises:
        BadInputError: A column is missing, or its values do not fit its purpose.
    """
    if "time" in names and "group" in names:
        raise BadInputError("split: rows are held out either by time or by group; leave one of them out.")
    found = {}
    for purpose, name in names.items():
        setting = _SETTINGS[purpose]
        if name == target:
            raise BadInputError(f"{setting}: {name!r} is the target.")
        if name not in table.columns:
            raise BadInputError(f"{setting}: {source} has no column {name!r}.{suggestion(name, table.columns)}")
        try:
            found[purpose] = _values(table[name], purpose)
        except UnusableError as error:
            raise BadInputError(f"{setting}: {source}: column {name!r} {error}") from error
    return table.drop(columns=list(dict.fromkeys(names.values()))), found


def _values(column: pd.Series, purpose: Aside) -> np.ndarray:
    missing = column.isna().to_numpy()
    if missing.any():
        raise UnusableError(f"has no value in row {int(missing.argmax()) + 1}.")
    if purpose == "group":
        return np.asarray(pd.factorize(column)[0])
    values = values_of(column)
    if values.kind == "category":
        raise UnusableError(f"holds text, not {'times' if purpose == 'time' else 'numbers'}.")
    numbers = values.array.astype(np.float64)
    wrong = ~np.isfinite(numbers) | ((numbers < 0) if purpose == "weights" else False)
    if wrong.any():
        row = int(wrong.argmax())
        raise UnusableError(f"holds {numbers[row]:g} in row {row + 1}, which cannot be a weight or a time.")
    if purpose == "weights" and not numbers.any():
        raise UnusableError("holds only zeros.")
    return numbers
