"""CSV files as tables: the original text of every value, and the typed values of the model's columns."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from serving.batch.errors import FileError
from serving.columns import Column
from serving.decoding import shown_name, shown_text

# How programs write missing values. In a column of numbers they cannot mean anything else. Training reads the same.
MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "-NaN", "None", "NULL", "null", "1.#QNAN",
)  # fmt: skip
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_NOUNS = {"number": "a number", "integer": "an integer", "boolean": "true or false"}
_BLOCK_BYTES = 4 << 20
_SEPARATORS = ",;\t|"


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Some rows of a file.

    Attributes:
        numbers: The number of each row in its file, counted from 1 without the header.
        given: The rows as they are in the file.
        typed: The same rows for the model, with the types of its columns.
        wrong: The reason why a row cannot be read, by its index.
        broken: Lines of the file that are not rows: their numbers, texts, and the reasons.
    """

    numbers: range | list[int]
    given: pa.RecordBatch
    typed: pa.RecordBatch
    wrong: dict[int, str] = {}
    broken: tuple[tuple[int, str, str], ...] = ()


def read_csv(path: Path, columns: tuple[Column, ...], separator: str) -> Iterator[Chunk]:
    """Read a CSV file in UTF-8 with a header, a few megabytes at a time. It is gzip if its name ends with .gz.

    Raises:
        FileError: if it is not such a file.
    """
    broken: list[tuple[int, str, str]] = []

    def refused(row: csv.InvalidRow) -> str:
        # The number counts from 1 and includes the header.
        reason = f"expected {row.expected_columns} values, got {row.actual_columns}"
        broken.append((row.number - 1, row.text, reason))
        return "skip"

    try:
        with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as source:
            reader = csv.open_csv(
                source,
                read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=csv.ParseOptions(
                    delimiter=separator, newlines_in_values=True, invalid_row_handler=refused
                ),
                convert_options=_all_text(_header(path, columns, separator)),
            )
            yield from _chunks(reader, columns, broken)
    except (pa.ArrowInvalid, OSError, UnicodeError) as error:
        told = " ".join(str(error).split())[:200]
        raise FileError(
            f"it is not a CSV file in UTF-8 with {separator!r} between fields and a header ({told})"
        ) from None


def _header(path: Path, columns: tuple[Column, ...], separator: str) -> list[str]:
    """Read only the names of the columns, which are needed to set their types before the rows are read."""
    with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as source:
        reader = csv.open_csv(
            source,
            read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
            ),
        )
        names: list[str] = reader.schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FileError(f"two of its columns are named {shown_name(twice)}, so they cannot be told apart")
    _check_separator(names, columns, separator)
    return names


def _check_separator(names: list[str], columns: tuple[Column, ...], separator: str) -> None:
    """Refuse a file that another separator would split: with this one, it has a single column.

    Raises:
        FileError: if it is such a file.
    """
    [name, *others] = names
    if others or name in [column.name for column in columns]:
        return
    if any(each in name for each in _SEPARATORS if each != separator):
        raise FileError(
            f"with {separator!r} between fields, its header is the single name {shown_name(name)}; set "
            "SCORE_CSV_SEPARATOR (--csv-separator) to the character that is between its fields"
        )


def _all_text(names: list[str]) -> csv.ConvertOptions:
    return csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)


def _chunks(reader: Any, columns: tuple[Column, ...], broken: list[tuple[int, str, str]]) -> Iterator[Chunk]:
    kinds = {column.name: column for column in columns}
    at, seen = 1, 0
    for batch in reader:
        skipped = {number for number, *_ in broken if number >= at}
        numbers: range | list[int] = range(at, at + batch.num_rows)
        if skipped and min(skipped) in numbers:
            numbers = _free_numbers(at, batch.num_rows, skipped)
        wrong: dict[int, str] = {}
        arrays = [
            _typed(batch.column(index), kinds[name], wrong) if name in kinds else batch.column(index)
            for index, name in enumerate(batch.schema.names)
        ]
        typed = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
        fresh, seen = tuple(broken[seen:]), len(broken)
        at = numbers[-1] + 1 if batch.num_rows else at
        yield Chunk(numbers, batch, typed, wrong, fresh)
    if len(broken) > seen:
        empty = reader.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=reader.schema)]
        yield Chunk([], empty[0], empty[0], {}, tuple(broken[seen:]))


def _free_numbers(at: int, rows: int, skipped: set[int]) -> list[int]:
    found: list[int] = []
    while len(found) < rows:
        if at not in skipped:
            found.append(at)
        at += 1
    return found


def _typed(values: pa.Array, column: Column, wrong: dict[int, str]) -> pa.Array:
    """Parse the texts of a column by its kind. Add those that cannot be parsed to `wrong`, by their indices."""
    if column.kind in ("category", "datetime"):
        return values
    blank = pc.is_in(values, value_set=pa.array(MISSING))
    present = pc.if_else(blank, pa.scalar(None, pa.string()), values)
    for kind in _types(column):
        try:
            return present.cast(kind)
        except pa.ArrowInvalid:
            continue
    return _one_by_one(present, column, wrong)


def _types(column: Column) -> tuple[pa.DataType, ...]:
    if column.kind == "boolean":
        return (pa.bool_(),)
    # Whole numbers are read as integers: doubles would round large ones before they can be refused.
    return (pa.int64(), pa.float64()) if column.kind == "integer" else (pa.float64(),)


def _one_by_one(values: pa.Array, column: Column, wrong: dict[int, str]) -> pa.Array:
    found: list[bool | float | None] = []
    for row, text in enumerate(values.to_pylist()):
        value = None if text is None else _value(text, column)
        if value is None and text is not None:
            reason = f"column {shown_name(column.name)}: expected {_NOUNS[column.kind]}, got {shown_text(text)}"
            wrong[row] = f"{wrong[row]}; {reason}" if row in wrong else reason
        found.append(value)
    return pa.array(found, pa.bool_() if column.kind == "boolean" else pa.float64())


def _value(text: str, column: Column) -> bool | float | None:
    if column.kind == "boolean":
        return _BOOLEANS.get(text.strip().lower())
    return float(text) if _NUMBER.fullmatch(text) else None
