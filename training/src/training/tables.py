"""Reading CSV and Parquet files, with every way in which a file is not a clean table told in one sentence."""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import BadInputError

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")


def stem(path: Path) -> str:
    """A data file's name without what says how it is written."""
    known = [suffix for suffix in CSV_SUFFIXES + PARQUET_SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(known, key=len))] if known else path.name


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV (comma-separated, with a header, UTF-8, optionally gzipped) or Parquet file.

    Raises:
        BadInputError: The file cannot be read, is empty, or its columns are unnamed or named twice.
    """
    name = path.name.lower()
    try:
        if name.endswith(CSV_SUFFIXES):
            table = _read_csv(path)
        elif name.endswith(PARQUET_SUFFIXES):
            table = _read_parquet(path)
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
    if table.empty:
        raise BadInputError(f"{path}: no rows.")
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        # pandas renames a column that comes twice, so the header is read by itself first.
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        _refuse_bad_names(header.iloc[0].tolist(), path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            table = pd.read_csv(path, low_memory=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise BadInputError(f"{path}: the file is empty.") from error
    except pd.errors.ParserError as error:
        raise BadInputError(f"{path}: not a comma-separated table ({' '.join(str(error).split())}).") from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the surplus for row names.
        raise BadInputError(f"{path}: rows have more fields than the header has names.")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        content = pq.ParquetFile(path).read()
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}).") from error
    # An index that pandas once stored is a column that nobody asked to learn from.
    content = content.select([name for name in content.column_names if not name.startswith("__index_level_")])
    _refuse_bad_names(content.column_names, path)
    table: pd.DataFrame = content.to_pandas(ignore_metadata=True)
    return table


def _refuse_bad_names(names: Sequence[str], path: Path) -> None:
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise BadInputError(f"{path}: column {position} has no name in the header.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInputError(f"{path}: column {twice[0]!r} comes more than once.")
