"""Truth that arrived later: tables with a request's id, a row's number if there are several, and the truth."""

import math
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from modelformat.logged import Told
from modelformat.mlmodel import Label
from training.errors import BadInputError
from training.outcomes.files import LogFile, decoded
from training.outcomes.refused import Refusals
from training.settings import CsvSettings, suggestion
from training.sources import read_source
from training.tables import CSV_SUFFIXES

# The limit for a pod's memory, which also holds the rows to join.
MOST_ROWS = 5_000_000
_BOOLEANS = {"true": True, "false": False}

Typed = Label | float


class TruthColumns(Struct, frozen=True):
    """The names of the columns of a table of truth; the column of row numbers may be absent."""

    request_id: str = "request_id"
    row: str = "row"
    truth: str = "truth"


class Entry(Struct, frozen=True, gc=False):
    """One row of truth: the row's number (None if it is not given), the value, and where it comes from.

    `untyped` means that the value is text of a file without types, and is read as the type of the model's answers.
    """

    row: int | None
    value: Any
    untyped: bool
    source: str


class Truth:
    """The known truth of each request."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.rows = 0

    def add(self, request_id: str, entry: Entry) -> None:
        """Add an entry.

        Raises:
            BadInputError: There are too many entries.
        """
        self.rows += 1
        if self.rows > MOST_ROWS:
            raise BadInputError(
                f"--truth: more than {MOST_ROWS:,} rows; give fewer, such as those of the days that --days reads."
            )
        self.entries.setdefault(request_id, []).append(entry)


def read_truth(
    sources: Sequence[str], query: str | None, columns: TruthColumns, csv: CsvSettings, refusals: Refusals
) -> Truth:
    """Read tables of truth.

    Args:
        sources: Tables for `training.sources.read_source`: paths, s3://, https:// or a database's address.
        query: The SQL query that selects the rows of a database.
        columns: The names of the columns.
        csv: How CSV files are written.
        refusals: Gets the rows without an id, without a truth, or with an invalid row number.

    Raises:
        BadInputError: There is no such table, or it lacks a column.
        OutageError: A source does not answer.
    """
    truth = Truth()
    for source in sources:
        try:
            found = read_source(source, query, csv, columns.truth, (columns.request_id, columns.truth))
        except BadInputError as error:
            raise BadInputError(str(error).replace("--data:", "--truth:")) from error
        untyped = urlsplit(source).path.lower().endswith(CSV_SUFFIXES)
        _add(truth, found.table.frame, found.shown, columns, refusals, untyped=untyped)
    return truth


def read_feedback(truth: Truth, files: Iterable[LogFile], refusals: Refusals) -> None:
    """Add the truth that callers sent to the service, which is in its log.

    Raises:
        BadInputError: There are too many entries.
    """
    decoder = msgspec.json.Decoder(Told)
    for file in files:
        for number, told in decoded(file, decoder, refusals):
            source = f"{file.name} line {number}"
            truth.add(told.request_id, Entry(told.row, told.truth, untyped=False, source=source))


def _add(
    truth: Truth, frame: pd.DataFrame, title: str, columns: TruthColumns, refusals: Refusals, *, untyped: bool
) -> None:
    for name in (columns.request_id, columns.truth):
        if name not in frame.columns:
            raise BadInputError(
                f"--truth: {title} has no column {name!r}.{suggestion(name, frame.columns)} Its columns are "
                f"{', '.join(map(repr, frame.columns[:20]))}; --id and --target name others."
            )
    numbered = columns.row in frame.columns
    ids, values = (frame[name].tolist() for name in (columns.request_id, columns.truth))
    rows: Iterable[Any] = frame[columns.row].tolist() if numbered else [None] * len(ids)
    for at, (identity, row, value) in enumerate(zip(ids, rows, values, strict=True), start=1):
        source = f"{title} row {at}"
        if _absent(identity) or identity == "":
            refusals.add("no_id", source)
            continue
        name = _name(identity)
        number = None if not numbered or _absent(row) else _number(row)
        if number is not None and number < 0:
            refusals.add("bad_row", source, name, detail=f"{columns.row} is {row!r}, not a whole number from 0")
        elif _absent(value) or value == "":
            refusals.add("empty", source, name, number)
        else:
            truth.add(name, Entry(number, _plain(value), untyped, source))


def typed(entry: Entry, answer: Typed) -> Typed | None:
    """Return an entry's value in the type of the model's answer; None if it has another type."""
    value = entry.value
    kind = type(answer)
    if entry.untyped and isinstance(value, str) and kind is not str:
        return _read(value.strip(), kind)
    if kind is str:
        return value if isinstance(value, str) else None
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if kind is float:
        return float(value)
    # A column of whole numbers with gaps was read as floats.
    return int(value) if value == int(value) else None


def _read(text: str, kind: type) -> Typed | None:
    if kind is bool:
        return _BOOLEANS.get(text.lower())
    try:
        number = float(text)
        if not math.isfinite(number):
            return None
        if kind is float:
            return number
        return (
            int(text) if "." not in text and "e" not in text.lower() else int(number) if number == int(number) else None
        )
    except ValueError:
        return None


def _name(identity: Any) -> str:
    """Return an id as callers send it in a header: whole numbers have no decimal point."""
    plain = _plain(identity)
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _number(row: Any) -> int:
    """Return a row's number; -1 if it is invalid."""
    plain = _plain(row)
    try:
        number = float(plain)
    except (TypeError, ValueError):
        return -1
    return int(number) if number.is_integer() and not isinstance(plain, bool) else -1


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
