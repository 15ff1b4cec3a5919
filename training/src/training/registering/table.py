"""Rows of a table as serving passes them to models: plain arrays by the contract (docs/model-format.md)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modelformat.columns import NO_TEXT
from training.registering.messages import ColumnGiven


def contract_rows(frame: pd.DataFrame, columns: Sequence[ColumnGiven]) -> np.ndarray:
    """Return rows as serving passes them on: float64, or objects (float and str) if there is text."""
    text = any(column.kind == "category" for column in columns)
    rows = np.empty((len(frame), len(columns)), dtype=object if text else np.float64)
    for index, column in enumerate(columns):
        values = frame[column.name]
        if column.kind == "category":
            rows[:, index] = [NO_TEXT if gap else str(value) for value, gap in zip(values, values.isna(), strict=True)]
        elif column.kind == "datetime":
            seconds = values.astype("datetime64[us]").astype("int64").to_numpy() / 1e6
            rows[:, index] = np.where(values.isna(), np.nan, seconds)
        else:
            rows[:, index] = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return rows
