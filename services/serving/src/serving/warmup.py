"""The warm-up: a model answers before anybody is served by it, and shows how long that takes it."""

import logging
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from serving.columns import Value
from serving.errors import ModelUnusableError
from serving.features import RowReader
from serving.labels import width
from serving.runtimes.base import ONE_OUTPUT, Matrix, Runtime
from serving.signature import ModelSpec

logger = logging.getLogger(__name__)

# A run that takes longer than this goes to a worker thread, so that others need not wait for it.
INLINE_SECONDS = 0.003
# And one that goes there holds no more rows of different requests than it computes in this time.
_SHARED_SECONDS = 0.05
# Rows of different requests share a run where a further row costs less than this part of a run of its own.
_WORTH_SHARING = 0.7
# Sharing has won all that it can at about a thousand rows, while the memory that a run takes is never given back.
_MOST_SHARED_ROWS = 2048
_WARM_UP_ROWS = 64
_MOST_ROWS = 1_000_000
# What a model is taken to need for a row where no row is known that it answers.
_UNKNOWN_SECONDS = 0.01


class Pace(msgspec.Struct, frozen=True):
    """How long a model takes, as its warm-up found: `first` seconds for a run of one row, and `further` for each more.

    `inline_rows` is how many rows it computes at once without holding up others, none for a slow one; `shared_rows` how
    many rows of different requests one run may hold, 1 where each is better computed by itself.
    """

    first: float
    further: float
    inline_rows: int
    shared_rows: int

    def seconds(self, rows: int) -> float:
        """How long a run over so many rows takes."""
        return self.first + (rows - 1) * self.further


class WarmedUp(msgspec.Struct, frozen=True):
    """A row that the model was asked with, which it answers if any of those that were tried is, and its pace."""

    example: tuple[Value, ...]
    pace: Pace


def warm_up(
    runtime: Runtime,
    spec: ModelSpec,
    reader: RowReader,
    own: tuple[Value, ...] | None,
    guesses: Sequence[tuple[Value, ...]],
) -> WarmedUp:
    """Asks a model with its own example, or with rows that were guessed, and finds out how long it takes.

    Not every model has a number for every row: 0 has no logarithm. The first row that is answered by one is the one
    that counts. Where none is, a model that has an example of its own is refused; one that has none may still be good.

    Raises:
        ModelUnusableError: when what it answers is not what its files promise, or its own example is not answered.
    """
    failure: Exception | None = None
    for row in (own, *guesses) if own is not None else guesses:
        try:
            return WarmedUp(row, _pace_of(runtime, spec, reader.one(row)))
        except _NotFiniteError as error:
            failure = failure or error
        except ModelUnusableError:
            raise
        except Exception as error:  # noqa: BLE001  (runtimes raise what they like, and another row may go well)
            failure = failure or error
    if not isinstance(failure, _NotFiniteError):
        raise ModelUnusableError(f"its warm-up prediction failed ({type(failure).__name__})") from failure
    if own is not None:
        raise ModelUnusableError("its warm-up prediction is not a finite number") from failure
    logger.warning(
        "the model has no finite answer to any row of the warm-up, so its speed is not known; log it with an "
        "input_example that it can answer"
    )
    return WarmedUp(guesses[0], pace(_UNKNOWN_SECONDS, 0.0))


class _NotFiniteError(Exception):
    """An answer is not a finite number."""


def _pace_of(runtime: Runtime, spec: ModelSpec, row: Matrix) -> Pace:
    """Predicts a row, of shape [1, columns], once and many times over."""
    rows = np.repeat(row, _WARM_UP_ROWS, axis=0)
    _check(runtime.run(row), spec, 1)
    _check(runtime.run(rows), spec, _WARM_UP_ROWS)
    first = min(_seconds(runtime, row) for _ in range(5))
    many = min(_seconds(runtime, rows) for _ in range(2))
    return pace(first, max(many - first, 0.0) / (_WARM_UP_ROWS - 1))


def pace(first: float, further: float) -> Pace:
    """Works out how to run a model that takes `first` seconds for one row and `further` for each more."""
    inline = rows_within(INLINE_SECONDS, first, further)
    shared = min(_MOST_SHARED_ROWS, inline or max(1, rows_within(_SHARED_SECONDS, first, further)))
    return Pace(first, further, inline, shared if further < _WORTH_SHARING * first else 1)


def rows_within(seconds: float, first: float, further: float) -> int:
    """How many rows a model computes in so many seconds, 0 where not even one."""
    if first > seconds:
        return 0
    return 1 + int(min((seconds - first) / max(further, 1e-9), _MOST_ROWS))


def _seconds(runtime: Runtime, rows: Matrix) -> float:
    start = time.perf_counter()
    runtime.run(rows)
    return time.perf_counter() - start


def _check(result: Matrix, spec: ModelSpec, rows: int) -> None:
    shape = (rows, width(spec)) if spec.task == "classification" else (rows,)
    if result.shape != shape:
        raise ModelUnusableError(
            f"its warm-up prediction has shape {result.shape}, but its MLmodel file says {shape}"
            + (f": it has several outputs, {ONE_OUTPUT}" if result.ndim > len(shape) else "")
        )
    if not np.isfinite(result).all():
        raise _NotFiniteError
    if spec.task == "classification" and not _adds_up(result[:, : len(spec.classes)]):
        raise ModelUnusableError(
            "the probabilities of its warm-up prediction do not add up to 1; if it may give a row several classes at "
            f"once (multi-label), it has several outputs, {ONE_OUTPUT}"
        )


def _adds_up(probabilities: Matrix) -> bool:
    return bool(np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-3))
