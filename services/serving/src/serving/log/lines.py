"""From rows and answers to lines of JSON, with the columns that may be kept."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelformat.logged import SAMPLE, Line, Told
from serving.columns import EPOCH, Column, Value
from serving.decoding import listed
from serving.labels import of_places
from serving.loader import LoadedModel
from serving.log.entries import Entry, Truths
from serving.runtimes.base import Matrix
from serving.signature import ModelSpec
from serving.writing import numbers_of, predictions_of

logger = logging.getLogger(__name__)


class Choice(msgspec.Struct, frozen=True):
    """Which columns are kept (none named: all), and which rows always are.

    `below` is the probability of the answered class under which a row is written, 0 for none; `unknown` whether rows
    with texts that training did not know are. Sensitive columns are never kept, named or not.
    """

    columns: tuple[str, ...] = ()
    below: float = 0.0
    unknown: bool = False


class Hour(msgspec.Struct, frozen=True):
    """Lines of one hour: when it began, in seconds since 1970, how many there are, and their text."""

    began: int
    rows: int
    text: bytes


_HOUR_SECONDS = 3600
_encoder = msgspec.json.Encoder()


class Lines:
    """Writes the lines of one model."""

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
        self._warn("sensitive columns are not logged, though they are named", sensitive)
        self._warn("columns that shall be logged are not there", set(choice.columns) - {each.name for each in columns})

    def _warn(self, what: str, names: set[str]) -> None:
        if found := sorted(names & set(self._choice.columns)):
            logger.warning(what, extra={"columns": listed(found), "version": self._model.version})

    def of(self, entries: Sequence[Entry]) -> Iterator[Hour]:
        """Writes those rows of some entries that are to be, as one text for each hour."""
        rows, result = (np.concatenate([getattr(entry, part) for entry in entries]) for part in ("rows", "result"))
        # A request whose answer was not finite was refused.
        answered = np.isfinite(result.reshape(len(result), -1)).all(axis=1)
        unknown, unsure = self._unknown(rows), self._unsure(result)
        chosen: list[int] = []
        heads: list[tuple[str, int, str]] = []
        at = 0
        for entry in entries:
            for place in entry.places:
                if answered[at] and (reason := _reason(entry, unknown=bool(unknown[at]), unsure=bool(unsure[at]))):
                    chosen.append(at)
                    heads.append((reason, place, entry.asked.identity.decode()))
                at += 1
        if not chosen:
            return
        owners = [entry for entry in entries for _ in entry.places]
        yield from self._by_hour([owners[index] for index in chosen], heads, rows[chosen], result[chosen])

    def _by_hour(
        self, entries: list[Entry], heads: list[tuple[str, int, str]], rows: Matrix, result: Matrix
    ) -> Iterator[Hour]:
        features = self._features(rows)
        predictions = predictions_of(result, self._model.spec)
        name, version, release, digest = self._told
        hours: dict[int, list[Line]] = {}
        for entry, (reason, place, identity), found, values in zip(entries, heads, predictions, features, strict=True):
            line = Line(
                _moment(entry.time), identity, place, name, version, release, digest, entry.asked.owner or None,
                reason, found.prediction, found.probability, values,
            )  # fmt: skip
            hours.setdefault(int(entry.time) // _HOUR_SECONDS * _HOUR_SECONDS, []).append(line)
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
    """Writes what was told later, as one text for each hour."""
    hours: dict[int, list[Told]] = {}
    for entry in entries:
        told = [
            Told(_moment(entry.time), each.request_id, each.row, entry.owner or None, each.truth) for each in entry.told
        ]
        hours.setdefault(int(entry.time) // _HOUR_SECONDS * _HOUR_SECONDS, []).extend(told)
    for began, lines in hours.items():
        yield Hour(began, len(lines), _encoder.encode_lines(lines))


def answers_surely(spec: ModelSpec) -> bool:
    """Whether a model says how sure it is."""
    return bool(spec.classes) and spec.labels != "only"


def unsure_in(result: Matrix, spec: ModelSpec, below: float) -> NDArray[np.bool_]:
    """Tells of each row of a result whether the class that it names is less probable than a bound; shape [rows].

    What is not finite is not sure either; it was refused.
    """
    if not np.isfinite(result).all():
        result = np.nan_to_num(result, nan=0.0, posinf=0.0, neginf=0.0)
    unsure: NDArray[np.bool_] = of_places(result, len(spec.classes)) < below
    return unsure


def _reason(entry: Entry, *, unknown: bool, unsure: bool) -> str:
    """Why a row is written; empty where it is not."""
    if entry.why == SAMPLE:
        return SAMPLE
    of_its_own = "unknown" if unknown else "confidence" if unsure else ""
    if entry.why == "shadow":
        # A row that is written for its own sake came by itself.
        return "" if of_its_own else "shadow"
    return of_its_own


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _reader(column: Column) -> Callable[[NDArray[Any]], list[Value]]:
    """What gives the values of a column as a caller writes them, null where there is none."""
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


def _date(seconds: float) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _numbers(values: NDArray[Any]) -> list[Value]:
    """Numbers with as few digits as tell them from their neighbours: 5.1, not 5.0999999."""
    if values.dtype != np.float32:
        return _each(float, values)
    values = np.ascontiguousarray(values)
    short: list[Value] = [*numbers_of(values)]
    for index in np.flatnonzero(np.array(short, dtype=np.float32) != values).tolist():
        short[index] = None if np.isnan(values[index]) else float(str(values[index]))
    return short
