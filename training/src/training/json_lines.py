"""Read JSON lines: one object on each line, whose keys are the columns."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa

from training.csv_files import refuse_bad_names
from training.errors import BadInputError


def read_json_lines(path: Path) -> pd.DataFrame:
    """Read a file of JSON lines, optionally gzipped; a key that a line lacks is a missing value.

    A column whose values have several types keeps each value as it is.

    Raises:
        BadInputError: A line is not an object, or the file is broken.
        OSError: It cannot be read.
        EOFError: It is cut off.
        UnicodeDecodeError: It is not UTF-8.
    """
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else Path.open
    decoder = msgspec.json.Decoder(dict[str, Any])
    columns: dict[str, list[Any]] = {}
    count = 0
    with opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise BadInputError(f"{path}: line {number} is not a JSON object ({error}).") from error
            for name, value in found.items():
                column = columns.setdefault(name, [])
                column += [None] * (count - len(column))
                column.append(value)
            count += 1
    for values in columns.values():
        values.extend([None] * (count - len(values)))
    refuse_bad_names(list(columns), path)
    return pd.DataFrame({name: series_of(values) for name, values in columns.items()}, index=range(count))


def series_of(values: list[Any]) -> pd.Series:
    """Return JSON values as a column: whole numbers stay whole even with gaps, and mixed types stay as they are."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pd.Series(values, dtype=object)
    if pa.types.is_integer(array.type) and array.null_count:
        nullable: pd.Series = array.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        return nullable
    found: pd.Series = array.to_pandas()
    return found
