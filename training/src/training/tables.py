"""Read data files. Every problem of a file is reported in one sentence."""

import json
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from msgspec import Struct

from training.csv_files import read_csv, refuse_bad_names
from training.errors import BadInputError
from training.json_lines import read_json_lines
from training.settings import CsvSettings

CSV_SUFFIXES = (".csv", ".csv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
SUFFIXES = CSV_SUFFIXES + PARQUET_SUFFIXES + JSON_SUFFIXES


class Table(Struct, frozen=True, eq=False):
    """The content of a file, and remarks on how it was read, in sentences."""

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def stem(path: Path) -> str:
    """Return a data file's name without its suffixes."""
    if path.is_dir():
        return path.name
    known = [suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(known, key=len))] if known else path.name


def read_table(path: Path, csv: CsvSettings, target: str | None = None, texts: Collection[str] = ()) -> Table:
    """Read a CSV (with a header) or JSON-lines file, optionally gzipped, a Parquet file, or a folder of Parquet files.

    The names of a folder's inner folders (`year=2024`) become a column.

    Args:
        path: The file or folder.
        csv: How a CSV file is written.
        target: The column to predict, which is kept even if it is a stored index.
        texts: Columns of a CSV file to read as text, whatever their values look like.

    Raises:
        BadInputError: The file cannot be read or is empty, or columns have no name or the same name.
    """
    name = path.name.lower()
    try:
        if path.is_dir():
            table = _without_index(_read_folder(path), path, target)
        elif name.endswith(CSV_SUFFIXES):
            read = read_csv(path, csv, target, texts)
            table = Table(read.table, tuple(f"{path}: {note}." for note in read.notes))
        elif name.endswith(PARQUET_SUFFIXES):
            table = _without_index(_read_parquet(path), path, target)
        elif name.endswith(JSON_SUFFIXES):
            table = Table(read_json_lines(path))
        else:
            raise BadInputError(f"{path}: a data file ends in {', '.join(SUFFIXES)}.")
    except (EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: the file is cut off or damaged ({error}).") from error
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        encoding = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
        raise BadInputError(
            f"{path}: not {encoding} text (byte {error.start}); set csv.encoding, for example to cp1252."
        ) from error
    except UnicodeError as error:
        raise BadInputError(f"{path}: not text in its encoding ({error}); set csv.encoding to another one.") from error
    if not len(table.frame):
        raise BadInputError(f"{path}: no rows.")
    return table


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}).") from error


def _read_folder(path: Path) -> pa.Table:
    # Names with these prefixes are not data, by the convention of Spark and Arrow.
    files = sorted(
        str(file)
        for file in path.rglob("*")
        if file.name.lower().endswith(PARQUET_SUFFIXES)
        and not any(part.startswith(("_", ".")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise BadInputError(f"{path}: the folder has no Parquet files ({', '.join(PARQUET_SUFFIXES)}).")
    try:
        found = ds.dataset(files, format="parquet", partitioning="hive", partition_base_dir=str(path))
        # The first file alone does not show which columns the others have.
        schema = pa.unify_schemas(
            [found.schema, *(fragment.physical_schema for fragment in found.get_fragments())],
            promote_options="permissive",
        )
        return found.replace_schema(schema).to_table()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInputError(f"{path}: its Parquet files are not one table ({str(error).splitlines()[0]}).") from error


def _without_index(content: pa.Table, path: Path, target: str | None) -> Table:
    # An index that pandas stored as a column is not a feature.
    stored = [name for name in _stored_index(content.schema) if name in content.column_names and name != target]
    names = [name for name in content.column_names if name not in stored]
    refuse_bad_names(names, path)
    content = content.select(names)
    frame = as_frame(content)
    notes = [
        f"{path}: column {name!r} is left out, because it is the index that pandas stored; call reset_index() before "
        "saving to make it a normal column."
        for name in stored
        if not name.startswith("__index_level_")
    ]
    notes += [
        f"{path}: index {name!r} is left out, because it only counts the rows; reset_index() makes it a column."
        for name in _counting_index(content.schema)
    ]
    return Table(frame, tuple(notes))


def as_frame(content: pa.Table) -> pd.DataFrame:
    """Return an Arrow table in pandas' types: decimals become floats, dates times, and integers stay integers."""
    odd = {}
    for name, column in zip(content.column_names, content.columns, strict=True):
        plain = _plain(column)
        if plain is not column or (pa.types.is_integer(plain.type) and plain.null_count):
            odd[name] = plain.to_pandas(types_mapper=_NULLABLE.get)
    rest = [name for name in content.column_names if name not in odd]
    frame: pd.DataFrame = content.select(rest).to_pandas(ignore_metadata=True)
    if not odd:
        return frame
    series = [odd[name] if name in odd else frame[name] for name in content.column_names]
    frame = pd.concat(series, axis=1)
    frame.columns = pd.Index(content.column_names)
    return frame


_NULLABLE: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return _plain(column.cast(column.type.value_type))
    if pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    if pa.types.is_date(column.type):
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_timestamp(column.type) and column.type.unit != "us":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _described_index(schema: pa.Schema) -> list[Any]:
    """Return pandas' description of the index: column names, or an object if the index only counts the rows."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        return list(described.get("index_columns", []))
    except (ValueError, AttributeError, TypeError):
        return []


def _counting_index(schema: pa.Schema) -> list[str]:
    names = [each.get("name") for each in _described_index(schema) if isinstance(each, dict)]
    return [name for name in names if isinstance(name, str)]


def _stored_index(schema: pa.Schema) -> list[str]:
    named = [name for name in _described_index(schema) if isinstance(name, str)]
    return named + [name for name in schema.names if name.startswith("__index_level_") and name not in named]
