"""Formats rows and answers as lines of JSON, with the columns that may be stored."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelformat.logged import SAMPLE, Line, Told
from serving.asked import Asked
from serving.columns import EPOCH, Column, Value
from serving.decoding import listed
from serving.labels import of_places
from serving.loader import LoadedModel
from serving.log.entries import Entry, Truths, Why
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec
from serving.writing import numbers_of, predictions_of

logger = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """Which columns are stored (empty: all), and which rows are always logged.

    Rows whose answered class is less probable than `below` are logged, 0 for none. With `unknown`, so are rows with
    texts that were not in the training data. Sensitive columns are never stored, whether named or not.
    """

    columns: tuple[str, ...] = ()
    below: float = 0.0
    unknown: bool = False


class Hour(msgspec.Struct, frozen=True):
    """Lines of one hour: its start in seconds since 1970, the number of lines, and their text."""

    began: int
    rows: int
    text: bytes


_HOUR_SECONDS = 3600
_encoder = msgspec.json.Encoder()


class Lines:
    """Formats the lines of one model."""

    def __init__(self, model: LoadedModel, choice: Choice) -> None:
        self._model = model
        self._choice = choice
        columns = model.spec.columns
        self._kept = [
            (index, column.name, _reader(column))
            for index, column in enumerate(columns)
            if not column.sensitive and (not choice.columns or column.name in choice.columns)
        ]
        self._told = (model.name, model.version, model.release or None, model.digest)
        sensitive = {column.name for column in columns if column.sensitive}
        self._warn("sensitive columns are not logged, although the settings name them", sensitive)
        self._warn(
            "the model lacks columns that should be logged", set(choice.columns) - {each.name for each in columns}
        )

    def _warn(self, what: str, names: set[str]) -> None:
        if found := sorted(names & set(self._choice.columns)):
            logger.warning(what, extra={"columns": listed(found), "version": self._model.version})

    def of(self, entries: Sequence[Entry]) -> Iterator[Hour]:
        """Yield the lines of the rows that are to be logged, as one text for each hour."""
        rows, result = (_joined([getattr(entry, part) for entry in entries]) for part in ("rows", "result"))
        reasons = self._reasons(entries, rows, result)
        told = (zip(each.asked, each.places, each.times, strict=True) for each in entries)
        heads = [(reason, *head) for reason, head in zip(reasons, chain.from_iterable(told), strict=True) if reason]
        if len(heads) < len(reasons):
            chosen = [at for at, reason in enumerate(reasons) if reason]
            rows, result = rows[chosen], result[chosen]
        if heads:
            yield from self._by_hour(heads, rows, result)

    def _reasons(self, entries: Sequence[Entry], rows: Matrix, result: Matrix) -> list[str]:
        """Return the reason why each row is logged, empty if it is not."""
        whys = [entry.why for entry in entries for _ in entry.places]
        if any(why != "sample" for why in whys):
            unknown, unsure = self._unknown(rows).tolist(), self._unsure(result).tolist()
            reasons = list(map(_reason, whys, unknown, unsure))
        else:
            reasons = [*whys]
        # A request whose answer was not finite was refused.
        answered = np.isfinite(result)
        if not answered.all():
            for at in np.flatnonzero(~answered.reshape(len(result), -1).all(axis=1)).tolist():
                reasons[at] = ""
        return reasons

    def _by_hour(self, heads: list[tuple[str, Asked, int, float]], rows: Matrix, result: Matrix) -> Iterator[Hour]:
        features = self._features(rows)
        predictions = predictions_of(result, self._model.spec)
        name, version, release, digest = self._told
        hours: dict[int, list[Line]] = {}
        for (reason, asked, place, time), found, values in zip(heads, predictions, features, strict=True):
            line = Line(
                _moment(time), asked.identity.decode(), place, name, version, release, digest, asked.owner or None,
                reason, found.prediction, found.probability, values,
            )  # fmt: skip
            hours.setdefault(int(time) // _HOUR_SECONDS * _HOUR_SECONDS, []).append(line)
        for began, lines in hours.items():
            yield Hour(began, len(lines), _encoder.encode_lines(lines))

    def _features(self, rows: Matrix) -> list[dict[str, Value]]:
        if not self._kept:
            return [{} for _ in rows]
        names = [name for _, name, _ in self._kept]
        columns = [read(rows[:, index]) for index, _, read in self._kept]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    def _unknown(self, rows: Matrix) -> NDArray[np.bool_]:
        if not self._choice.unknown:
            return np.zeros(len(rows), dtype=bool)
        return self._model.reader.unknown_in(rows)

    def _unsure(self, result: Matrix) -> NDArray[np.bool_]:
        if not self._choice.below or not answers_surely(self._model.spec):
            return np.zeros(len(result), dtype=bool)
        return unsure_in(result, self._model.spec, self._choice.below)


def of_truths(entries: Sequence[Truths]) -> Iterator[Hour]:
    """Yield the lines of truths, as one text for each hour."""
    hours: dict[int, list[Told]] = {}
    for entry in entries:
        told = [
            Told(_moment(entry.time), each.request_id, each.row, entry.owner or None, each.truth) for each in entry.told
        ]
        hours.setdefault(int(entry.time) // _HOUR_SECONDS * _HOUR_SECONDS, []).extend(told)
    for began, lines in hours.items():
        yield Hour(began, len(lines), _encoder.encode_lines(lines))


def answers_surely(spec: ModelSpec) -> bool:
    """Return whether a model gives probabilities."""
    return bool(spec.classes) and spec.labels != "only"


def unsure_in(result: Matrix, spec: ModelSpec, below: float) -> NDArray[np.bool_]:
    """Return for each row of a result whether its class is less probable than `below`; shape [rows].

    A row without a finite result counts as such. It was refused.
    """
    if not np.isfinite(result).all():
        result = np.nan_to_num(result, nan=0.0, posinf=0.0, neginf=0.0)
    unsure: NDArray[np.bool_] = of_places(result, len(spec.classes)) < below
    return unsure


def _reason(why: Why, unknown: bool, unsure: bool) -> str:
    """Return the reason why a row is logged, empty if it is not."""
    if why == SAMPLE:
        return SAMPLE
    of_its_own = "unknown" if unknown else "confidence" if unsure else ""
    if why == "shadow":
        # The row has another reason to be logged, so another entry has it already.
        return "" if of_its_own else "shadow"
    return of_its_own


def _joined(parts: list[Matrix]) -> Matrix:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _moment(time: float) -> str:
    seconds, part = divmod(round(time * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{part:06d}Z"


@lru_cache(4)
def _second(seconds: int) -> str:
    """Return a second since 1970 as text. Cached, because many rows share a second, and formatting it is slow."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def _reader(column: Column) -> Callable[[NDArray[Any]], list[Value]]:
    """Return a function that gives the values of a column as a caller writes them, None for null."""
    match column.kind:
        case "category":
            return lambda values: [value or None for value in values.tolist()]
        case "boolean":
            return partial(_each, bool)
        case "integer":
            return partial(_each, int)
        case "datetime":
            return partial(_each, _date)
        case _:
            return _numbers


def _each(how: Callable[[float], Value], values: NDArray[Any]) -> list[Value]:
    return [None if math.isnan(value) else how(value) for value in values.tolist()]


def _date(seconds: float) -> Value:
    try:
        moment = EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        # The first hours of the year 1 and the last ones of 9999 in some time zones are outside these years in UTC.
        return seconds
    return moment.isoformat().replace("+00:00", "Z")


def _numbers(values: NDArray[Any]) -> list[Value]:
    """Return numbers with the fewest digits that identify them: 5.1, not 5.0999999."""
    if values.dtype != np.float32:
        return _each(float, values)
    values = np.ascontiguousarray(values)
    short: list[Value] = [*numbers_of(values)]
    for index in np.flatnonzero(np.array(short, dtype=np.float32) != values).tolist():
        short[index] = None if np.isnan(values[index]) else float(str(values[index]))
    return short
