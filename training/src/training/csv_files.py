"""Reading CSV files: separator and decimal sign are recognised, and markers of gaps are told from words."""

import csv
import gzip
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from msgspec import Struct

from training.errors import BadInputError
from training.settings import CsvSettings

ENCODING = "utf-8-sig"
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_LOOKED_AT_LINES = 50
_LOOKED_AT_BYTES = 1 << 20
# What programs write for nothing; a column of numbers cannot mean anything else by them.
_USUAL_MARKERS = (
    "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "-NaN", "None", "NULL", "null", "1.#QNAN",
)  # fmt: skip
_WITH_COMMA = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
_NUMBER = r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?"


class CsvTable(Struct, frozen=True, eq=False):
    """What a file holds, and what had to be recognised to read it, in sentences without the file's name."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def read_csv(path: Path, settings: CsvSettings) -> CsvTable:
    """Read a CSV file with a header, UTF-8, optionally gzipped.

    Raises:
        BadInputError: The file is empty, not a table, or its columns are unnamed or named twice.
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    separator = settings.separator or _recognised_separator(path)
    notes = [] if settings.separator or separator == "," else [f"{_SEPARATORS[separator]} between fields"]
    try:
        # pandas renames a column that comes twice, so the header is read by itself first.
        header = pd.read_csv(
            path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False, encoding=ENCODING
        )
        names = [str(name) for name in header.iloc[0].tolist()]
        refuse_bad_names(names, path)
        table = _read(path, separator, settings.decimal or ".", settings.missing)
        if settings.decimal is None and separator != "," and _has_decimal_commas(table):
            table = _read(path, separator, ",", settings.missing)
            notes.append("a comma as decimal sign")
    except pd.errors.EmptyDataError as error:
        raise BadInputError(f"{path}: the file is empty.") from error
    except pd.errors.ParserError as error:
        what = _SEPARATORS.get(separator, repr(separator))
        raise BadInputError(
            f"{path}: not a table with {what} between fields ({' '.join(str(error).split())}); "
            "csv.separator names another one."
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the surplus for row names.
        raise BadInputError(
            f"{path}: rows have more fields than the header has names, with "
            f"{_SEPARATORS.get(separator, repr(separator))} between fields; csv.separator names another one."
        )
    said = " and ".join(notes)
    return CsvTable(table, (f"read with {said} (csv.separator and csv.decimal say otherwise)",) if notes else ())


def refuse_bad_names(names: Sequence[str], path: Path) -> None:
    """Refuse columns without a name or with the name of another, all at once.

    Raises:
        BadInputError: There are such columns.
    """
    wrong = [
        f"{path}: column {position} has no name in the header."
        for position, name in enumerate(names, start=1)
        if not name.strip()
    ]
    wrong += [
        f"{path}: column {name!r} comes more than once."
        for name, count in Counter(names).items()
        if count > 1 and name.strip()
    ]
    if wrong:
        raise BadInputError("\n".join(wrong))


def _read(path: Path, separator: str, decimal: str, missing: list[str] | None) -> pd.DataFrame:
    common: dict[str, Any] = {
        "sep": separator, "decimal": decimal, "encoding": ENCODING, "keep_default_na": False, "low_memory": False,
    }  # fmt: skip
    declared = ["", *(missing or ())]
    markers = declared if missing is not None else ["", *_USUAL_MARKERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        table: pd.DataFrame = pd.read_csv(path, na_values=markers, **common)
        if missing is not None or not isinstance(table.index, pd.RangeIndex):
            return table
        # A column of words means "None" or "NA" as a word: it is read again, with nothing but the empty cell missing.
        words = _columns_of_words(table)
        if words:
            again = pd.read_csv(path, usecols=words, dtype=str, na_values=declared, **common)
            for name in words:
                table[name] = again[name]
    return table


def _columns_of_words(table: pd.DataFrame) -> list[str]:
    """Columns without numbers: those of text, and those that are all markers of gaps, but not booleans with gaps."""
    nothing = table.isna().all().to_numpy()
    return [
        str(name)
        for name, kind, empty in zip(table.columns, table.dtypes, nothing, strict=True)
        if empty
        or (not pd.api.types.is_numeric_dtype(kind) and not all(isinstance(v, bool) for v in table[name].dropna()))
    ]


def _has_decimal_commas(table: pd.DataFrame) -> bool:
    """Whether columns of text are numbers with decimal commas, and no other column has a decimal point."""
    found = False
    for name in table.columns:
        values = table[name].dropna()
        if pd.api.types.is_float_dtype(values) and (values % 1 != 0).any():
            return False
        if pd.api.types.is_numeric_dtype(values) or not len(values):
            continue
        texts = values.astype(str).str.strip()
        found = found or bool(texts.str.fullmatch(_NUMBER).all() and texts.str.fullmatch(_WITH_COMMA).any())
    return found


def _recognised_separator(path: Path) -> str:
    """The separator that gives every line the same number of fields, the most of them; a comma where none does."""
    lines = _first_lines(path)
    best, most = ",", 1
    for separator in _SEPARATORS:
        try:
            widths = {len(row) for row in csv.reader(io.StringIO(lines), delimiter=separator) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and (width := widths.pop()) > most:
            best, most = separator, width
    return best


def _first_lines(path: Path) -> str:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as file:
        content = file.read(_LOOKED_AT_BYTES)
    lines = content.decode(ENCODING, errors="ignore").splitlines(keepends=True)
    if len(content) == _LOOKED_AT_BYTES and len(lines) > 1:
        # The last one is cut off.
        lines.pop()
    return "".join(lines[:_LOOKED_AT_LINES])
