"""Reading data files, with every way in which a file is not a clean table told in one sentence."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from training.csv_files import read_csv, refuse_bad_names
from training.errors import BadInputError
from training.settings import CsvSettings

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")


class Table(Struct, frozen=True, eq=False):
    """What a file holds, and what should be known of how it was read, in sentences."""

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def stem(path: Path) -> str:
    """A data file's name without what says how it is written."""
    known = [suffix for suffix in CSV_SUFFIXES + PARQUET_SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(known, key=len))] if known else path.name


def read_table(path: Path, csv: CsvSettings, target: str | None = None) -> Table:
    """Read a CSV (with a header, UTF-8, optionally gzipped) or Parquet file.

    Args:
        path: The file.
        csv: How a CSV file is written.
        target: The column to predict, which is kept even where it is a stored index.

    Raises:
        BadInputError: The file cannot be read, is empty, or its columns are unnamed or named twice.
    """
    name = path.name.lower()
    try:
        if name.endswith(CSV_SUFFIXES):
            read = read_csv(path, csv)
            table = Table(read.table, tuple(f"{path}: {note}." for note in read.notes))
        elif name.endswith(PARQUET_SUFFIXES):
            table = _read_parquet(path, target)
        else:
            raise BadInputError(f"{path}: a data file ends in {', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)}.")
    except IsADirectoryError as error:
        raise BadInputError(f"{path}: a folder, not a file.") from error
    except EOFError as error:
        raise BadInputError(f"{path}: the file is cut off.") from error
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    if not len(table.frame):
        raise BadInputError(f"{path}: no rows.")
    return table


def _read_parquet(path: Path, target: str | None) -> Table:
    try:
        content = pq.ParquetFile(path).read()
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}).") from error
    # An index that pandas once stored is a column that nobody asked to learn from.
    stored = [name for name in _stored_index(content.schema) if name in content.column_names and name != target]
    content = content.select([name for name in content.column_names if name not in stored])
    refuse_bad_names(content.column_names, path)
    frame: pd.DataFrame = content.to_pandas(ignore_metadata=True)
    notes = [
        f"{path}: column {name!r} is left out, for it is the index that pandas stored; reset_index() before saving "
        "makes it a column like any other."
        for name in stored
        if not name.startswith("__index_level_")
    ]
    return Table(frame, tuple(notes))


def _stored_index(schema: pa.Schema) -> list[str]:
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        index = described.get("index_columns", [])
    except (ValueError, AttributeError):
        index = []
    named = [name for name in index if isinstance(name, str)]
    return named + [name for name in schema.names if name.startswith("__index_level_") and name not in named]
