"""Join the prediction log with the truth by request and row. Ambiguous rows are refused, counted and listed."""

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec
import pandas as pd
from msgspec import Struct

from modelformat.logged import SAMPLE, Line
from training.errors import BadInputError
from training.json_lines import series_of
from training.outcomes.files import Days, LogFile, decoded, feedback_files, log_files
from training.outcomes.refused import HARMLESS, Refusals
from training.outcomes.seen import Seen
from training.outcomes.truth import Entry, Truth, TruthColumns, Typed, read_feedback, read_truth, typed
from training.settings import CsvSettings

# The limit for a pod's memory: a row of thirty columns takes 1 KiB.
MOST_JOINED = 2_000_000
_COLUMNS = (
    "request_id", "row", "time", "model", "version", "release", "digest", "caller", "reason", "prediction",
    "probability", "truth",
)  # fmt: skip
_MOMENT = re.compile(r"(?:19|20|21)\d\d-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?")
_AS_USUAL, _ALL_DAYS, _CSV = TruthColumns(), Days(), CsvSettings()


class Joined(Struct, frozen=True, eq=False):
    """The rows of the log whose truth is known, and counts of everything else.

    Attributes:
        answers: A row each: `request_id` (str), `row` (int), `time` (UTC), `model`, `version`, `release`, `digest`,
            `caller`, `reason` (str; figures are unbiased only for `sample`), `prediction`, `probability` (float, NaN if
            the model gives none) and `truth`, which has the type of `prediction`.
        inputs: The features of the same rows as the log has them, by name: missing values are None, times are texts
            in ISO 8601, and columns that the log does not keep are absent.
        seen: All randomly sampled rows of the log, joined or not, by version and day.
        refusals: What was not joined, and why.
        logged: The number of rows in the log of these days, whatever their reason.
        repeated: The number of rows that occur again in the log with the same answer; they are joined once.
        truths: The number of rows of truth.
    """

    answers: pd.DataFrame
    inputs: pd.DataFrame
    seen: Seen
    refusals: Refusals
    logged: int
    repeated: int
    truths: int

    @property
    def refused(self) -> int:
        """The number of rows of truth, and of lines and files of the log, that were not joined."""
        return sum(count for reason, count in self.refusals.counts.items() if reason not in HARMLESS)

    def table(self, target: str) -> pd.DataFrame:
        """Return the inputs with the truth as a further column, as a table to learn from.

        Raises:
            BadInputError: An input already has that name.
        """
        if target in self.inputs.columns:
            raise BadInputError(f"target: {target!r} is already a column of the log; choose another name.")
        # By position: as a keyword, a name such as `self` would mean something else.
        table = self.inputs.copy()
        table.insert(len(table.columns), target, self.answers["truth"])
        return table


def joined(
    log: str,
    truth: Sequence[str],
    *,
    query: str | None = None,
    columns: TruthColumns = _AS_USUAL,
    csv: CsvSettings = _CSV,
    days: Days = _ALL_DAYS,
) -> Joined:
    """Join a log with truth.

    The truth that callers sent to the service itself (`POST /feedback`) is in the log, and counts like any other. The
    log is read line by line and only rows with a truth are kept, so memory grows with those alone.

    Args:
        log: The log of one service: `s3://BUCKET/ENVIRONMENT/SERVICE`, or a folder.
        truth: Tables of truth: a path or address for `training.sources.read_source` each.
        query: The SQL query that selects the rows, if the truth is in a database.
        columns: The names of the columns of truth.
        csv: How CSV files of truth are written.
        days: The days of the log to read.

    Raises:
        BadInputError: The log or the truth does not exist, cannot be accessed, or is too large.
        OutageError: A source does not answer.
    """
    refusals = Refusals()
    known = read_truth(truth, query, columns, csv, refusals)
    read_feedback(known, feedback_files(log, days), refusals)
    reading = _Reading(known, refusals)
    for file in log_files(log, days):
        reading.read(file)
    answers = reading.settled()
    return Joined(
        _answers(answers), _inputs([line for line, _ in answers]), reading.seen, refusals, reading.logged,
        reading.repeated, known.rows,
    )  # fmt: skip


class _Reading:
    """Reads the lines of one log, and keeps those whose truth is known."""

    def __init__(self, truth: Truth, refusals: Refusals) -> None:
        self.seen = Seen()
        self.logged = self.repeated = 0
        self._truth = truth.entries
        self._refusals = refusals
        self._decoder = msgspec.json.Decoder(Line)
        # The rows of each request with a truth, by row number; None if the log contradicts itself.
        self._lines: dict[str, dict[int, Line | None]] = {}
        self._kept = 0

    def read(self, file: LogFile) -> None:
        """Read a file, as far as it is readable."""
        for number, line in decoded(file, self._decoder, self._refusals):
            if _is_moment(line.time):
                self._take(line)
            else:
                said = f"{line.time[:40]!r} is not a time such as 2026-11-29T12:00:00Z"
                self._refusals.add("line", f"{file.name} line {number}", line.request_id, line.row, said)

    def _take(self, line: Line) -> None:
        self.logged += 1
        if line.request_id not in self._truth:
            self.seen.add(line)
            return
        rows = self._lines.setdefault(line.request_id, {})
        if line.row not in rows:
            self._kept += 1
            if self._kept > MOST_JOINED:
                raise BadInputError(f"--log: more than {MOST_JOINED:,} rows to join; read fewer days (--days).")
            rows[line.row] = line
        elif (before := rows[line.row]) is not None and _same(before, line):
            # A caller retried, or a file is in the log twice.
            self.repeated += 1
            return
        else:
            rows[line.row] = None
        self.seen.add(line)

    def settled(self) -> list[tuple[Line, Typed]]:
        """Return the rows with their truth, in the order of their times."""
        found: list[tuple[Line, Typed]] = []
        for request_id, entries in self._truth.items():
            rows = self._lines.get(request_id)
            if rows is None:
                for entry in entries:
                    self._refusals.add("unknown", entry.source, request_id, entry.row)
                continue
            by_row: dict[int, list[Entry]] = {}
            for entry in entries:
                row = self._row_of(request_id, entry, rows)
                if row is not None:
                    by_row.setdefault(row, []).append(entry)
            for row, some in by_row.items():
                line = rows[row]
                assert line is not None  # noqa: S101  (`_row_of` refuses such rows)
                value = self._agreed(line, some)
                if value is not None:
                    found.append((line, value))
        return sorted(found, key=lambda pair: (pair[0].time, pair[0].request_id, pair[0].row))

    def _row_of(self, request_id: str, entry: Entry, rows: dict[int, Line | None]) -> int | None:
        """Return the row number that an entry means; None if the entry is refused."""
        row = entry.row
        if row is None:
            only = rows.get(0)
            if len(rows) != 1 or 0 not in rows or (only is not None and only.reason != SAMPLE):
                # The request may have had more rows than the log shows: if it was not sampled at random, the log has
                # single rows of it. And if row 0 is not among them, there were several.
                self._refusals.add(
                    "no_row", entry.source, request_id,
                    detail="the request may have several rows; add a column with row numbers, from 0",
                )  # fmt: skip
                return None
            row = next(iter(rows))
        if row not in rows:
            detail = f"the log has {len(rows)} rows of this request, but not this one"
            self._refusals.add("unknown_row", entry.source, request_id, row, detail)
            return None
        if rows[row] is None:
            detail = "the log has different rows or answers under this id"
            self._refusals.add("asked_again", entry.source, request_id, row, detail)
            return None
        return row

    def _agreed(self, line: Line, entries: list[Entry]) -> Typed | None:
        """Return the value on which the entries of one row agree; None if there is none."""
        values: list[tuple[Entry, Typed]] = []
        for entry in entries:
            value = typed(entry, line.prediction)
            if value is None:
                detail = f"{entry.value!r} is not a {_kind(line.prediction)}, as the model's answers are"
                self._refusals.add("type", entry.source, line.request_id, line.row, detail)
            else:
                values.append((entry, value))
        different = {value for _, value in values}
        if len(different) > 1:
            detail = " and ".join(sorted(map(repr, different))[:5])
            for entry, _ in values:
                self._refusals.add("contradiction", entry.source, line.request_id, line.row, detail)
            return None
        for entry, _ in values[1:]:
            self._refusals.add("double", entry.source, line.request_id, line.row)
        return values[0][1] if values else None


def _is_moment(text: str) -> bool:
    """Return whether a text is a time that a pandas column can hold."""
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _same(one: Line, other: Line) -> bool:
    return (one.prediction, one.digest, one.version, one.features) == (
        other.prediction, other.digest, other.version, other.features,
    )  # fmt: skip


def _kind(answer: Typed) -> str:
    return {str: "text", bool: "true or false", int: "whole number"}.get(type(answer), "number")


def _answers(found: Sequence[tuple[Line, Typed]]) -> pd.DataFrame:
    rows = [(*(getattr(line, name) for name in _COLUMNS[:-1]), value) for line, value in found]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    frame["probability"] = frame["probability"].astype(float)
    return frame


def _inputs(lines: Sequence[Line]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for line in lines for name in line.features))
    columns = {name: series_of([line.features.get(name) for line in lines]) for name in names}
    return pd.DataFrame(columns, index=range(len(lines)))
