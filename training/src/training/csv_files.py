"""Read CSV files: detect separator and decimal sign, and tell markers of missing values from words."""

import codecs
import csv
import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from training.errors import BadInputError
from training.settings import CsvSettings

_UTF8 = "utf-8-sig"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The encoding that spreadsheets on Windows write in Western Europe and America.
_WINDOWS = "cp1252"
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_LOOKED_AT_LINES = 50
_LOOKED_AT_BYTES = 1 << 20
# What programs write for a missing value. Among numbers they cannot mean anything else.
_USUAL_MARKERS = (
    "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "-NaN", "None", "NULL", "null", "1.#QNAN",
)  # fmt: skip
_WITH_COMMA = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
_SURPLUS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_NUMBER = r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?"


class CsvTable(Struct, frozen=True, eq=False):
    """The content of a file, and remarks on what was detected to read it, in sentences without the file's name."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def read_csv(path: Path, settings: CsvSettings, target: str | None = None, texts: Collection[str] = ()) -> CsvTable:
    """Read a CSV file with a header, optionally gzipped.

    Args:
        path: The file.
        settings: How it is written; what they leave out is detected.
        target: The column to predict.
        texts: Columns to read as text, whatever their values look like.

    Raises:
        BadInputError: The file is empty or not a table, or columns have no name or the same name.
        OSError: It cannot be read.
        UnicodeDecodeError: It does not have its encoding.
    """
    if settings.encoding is not None:
        return _read_encoded(path, settings, target, texts, _known_encoding(settings.encoding))
    if _first_bytes(path, 2) in _UTF16_MARKS:
        return _read_encoded(path, settings, target, texts, "utf-16")
    try:
        return _read_encoded(path, settings, target, texts, _UTF8)
    except UnicodeDecodeError as error:
        try:
            return _read_encoded(path, settings, target, texts, _WINDOWS)
        except UnicodeDecodeError:
            raise error from None


def _read_encoded(
    path: Path, settings: CsvSettings, target: str | None, texts: Collection[str], encoding: str
) -> CsvTable:
    separator = settings.separator or _recognised_separator(path, encoding)
    notes = [] if settings.separator or separator == "," else [f"{_SEPARATORS[separator]} between fields"]
    if encoding == _WINDOWS and settings.encoding is None:
        notes.append(f"the letters of {_WINDOWS}, because it is not UTF-8")
    try:
        # pandas renames a column that occurs twice, so the header is read on its own first.
        header = pd.read_csv(
            path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False, encoding=encoding
        )
        names = [str(name) for name in header.iloc[0].tolist()]
        # The default of to_csv(): the index, as a column without a name.
        index = not names[0].strip() and len(names) > 1
        refuse_bad_names(names[index:], path, first=1 + index)
        how: dict[str, Any] = {
            "sep": separator, "encoding": encoding, "dtype": {name: str for name in names if name in texts},
            "keep_default_na": False, "low_memory": False,
        }  # fmt: skip
        table, said = _read(path, settings.missing, target, how | {"decimal": settings.decimal or "."})
        if settings.decimal is None and separator != "," and _has_decimal_commas(table, texts):
            table, said = _read(path, settings.missing, target, how | {"decimal": ","})
            notes.append("a comma as decimal separator")
    except pd.errors.EmptyDataError as error:
        raise BadInputError(f"{path}: the file is empty.") from error
    except pd.errors.ParserError as error:
        raise BadInputError(f"{path}: {_unreadable(str(error), separator)}") from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the surplus fields for row names.
        raise BadInputError(
            f"{path}: rows have more fields than the header has names, with "
            f"{_SEPARATORS.get(separator, repr(separator))} between fields; set csv.separator to another one."
        )
    if index:
        table = table.drop(columns=table.columns[0])
        said = ["column 1 has no name and is left out, like an index saved with the table (index=False)", *said]
    if notes:
        said = [f"read with {' and '.join(notes)} (csv.separator, csv.decimal and csv.encoding override this)", *said]
    return CsvTable(table, tuple(said))


def _unreadable(error: str, separator: str) -> str:
    """Return what is wrong with a file that pandas cannot read, and how to correct it, in a sentence."""
    what = _SEPARATORS.get(separator, repr(separator))
    if surplus := _SURPLUS.search(error):
        expected, line, found = surplus.groups()
        return (
            f"line {line} has {found} fields, but the lines before have {expected}, with {what} between fields: put "
            "quotes around a field that contains this character, or set csv.separator to another one."
        )
    told = " ".join(error.removeprefix("Error tokenizing data. C error: ").split())
    if "EOF inside string" in error:
        return f"a quote is opened, but never closed ({told}): close it, or write a quote within a field twice."
    return f"not a table with {what} between fields ({told}); set csv.separator to another one."


def _known_encoding(name: str) -> str:
    try:
        codec = codecs.lookup(name)
    except LookupError as error:
        raise BadInputError(f"csv.encoding: {name!r} is not an encoding that Python knows, such as utf-8.") from error
    return _UTF8 if codec.name == "utf-8" else codec.name


def refuse_bad_names(names: Sequence[str], path: Path | str, first: int = 1) -> None:
    """Refuse columns without a name or with another column's name, all at once.

    Args:
        names: The columns' names.
        path: The table's origin, for the error.
        first: The position in the table of the first name.

    Raises:
        BadInputError: There are such columns.
    """
    wrong = [
        f"{path}: column {position} has no name in the header."
        for position, name in enumerate(names, start=first)
        if not name.strip()
    ]
    wrong += [
        f"{path}: column {name!r} occurs more than once."
        for name, count in Counter(names).items()
        if count > 1 and name.strip()
    ]
    if wrong:
        raise BadInputError("\n".join(wrong))


def _read(
    path: Path, missing: list[str] | None, target: str | None, how: dict[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table, and remarks about its missing values."""
    declared = ["", *(missing or ())]
    markers = declared if missing is not None else ["", *_USUAL_MARKERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        table: pd.DataFrame = pd.read_csv(path, na_values=markers, **how)
        if missing is not None or not isinstance(table.index, pd.RangeIndex):
            return table, []
        # In a column of words, "None" or "NA" is a word, so they are read again with only the empty cell as missing.
        words = _columns_of_words(table)
        if not words:
            return table, []
        texts = how | {"dtype": str, "na_values": declared}
        for name, column in pd.read_csv(path, usecols=words, **texts).items():
            table[name] = column
        found = {name: _markers(table[name]) for name in words if name != target}
        if not any(found.values()):
            return table, []
        # A marker that stands for missing numbers in this file also stands for missing words.
        gaps = [name for name in table.columns if name not in words and table[name].isna().any()]
        proven = set().union(*map(_markers, pd.read_csv(path, usecols=gaps, **texts).to_dict("series").values()))
        return table, [_settled(table, name, marker, proven) for name in found for marker in found[name]]


def _markers(column: pd.Series) -> list[str]:
    return sorted(set(column.unique()) & set(_USUAL_MARKERS))


def _settled(table: pd.DataFrame, name: str, marker: str, proven: Collection[str]) -> str:
    """Decide whether a marker in a column of words is a missing value or a word, and say so in a sentence."""
    rows = table[name] == marker
    count = int(rows.sum())
    where = f"column {name!r} holds {marker!r} in {count} row{'' if count == 1 else 's'}"
    if marker in proven:
        table.loc[rows, name] = np.nan
        return f"{where}, read as a missing value, as in the columns of numbers"
    quoted = msgspec.json.encode(marker).decode()
    return f"{where}, read as a category; csv.missing: [{quoted}] makes it a missing value"


def _columns_of_words(table: pd.DataFrame) -> list[str]:
    """Return the columns without numbers: text, and markers of missing values only, but not booleans with gaps."""
    nothing = table.isna().all().to_numpy()
    return [
        str(name)
        for name, kind, empty in zip(table.columns, table.dtypes, nothing, strict=True)
        if empty
        or (not pd.api.types.is_numeric_dtype(kind) and not all(isinstance(v, bool) for v in table[name].dropna()))
    ]


def _has_decimal_commas(table: pd.DataFrame, texts: Collection[str]) -> bool:
    """Return whether columns of text are numbers with decimal commas, and no other column has decimal points."""
    found = False
    for name in table.columns:
        values = table[name].dropna()
        if pd.api.types.is_float_dtype(values) and (values % 1 != 0).any():
            return False
        if pd.api.types.is_numeric_dtype(values) or not len(values) or name in texts:
            continue
        words = values.astype(str).str.strip()
        found = found or bool(words.str.fullmatch(_NUMBER).all() and words.str.fullmatch(_WITH_COMMA).any())
    return found


def _recognised_separator(path: Path, encoding: str) -> str:
    """Return the separator that gives all lines the same and the largest number of fields; a comma if none does."""
    lines = _first_lines(path, encoding)
    best, most = ",", 1
    for separator in _SEPARATORS:
        try:
            widths = {len(row) for row in csv.reader(io.StringIO(lines), delimiter=separator) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and (width := widths.pop()) > most:
            best, most = separator, width
    return best


def _first_bytes(path: Path, count: int) -> bytes:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        content: bytes = file.read(count)
    return content


def _first_lines(path: Path, encoding: str) -> str:
    content = _first_bytes(path, _LOOKED_AT_BYTES)
    lines = content.decode(encoding, errors="ignore").splitlines(keepends=True)
    if len(content) == _LOOKED_AT_BYTES and len(lines) > 1:
        # The last line may be cut off.
        lines.pop()
    return "".join(lines[:_LOOKED_AT_LINES])
