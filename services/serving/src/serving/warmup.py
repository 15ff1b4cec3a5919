"""The warm-up: a model answers once before it is served, and its speed is measured."""

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

# A run that takes longer than this goes to a worker thread, so that other requests do not wait for it.
INLINE_SECONDS = 0.003
# Such a run has no more rows of different requests than it computes in this time.
_SHARED_SECONDS = 0.05
# Rows of different requests share a run if an additional row costs less than this share of a separate run.
_WORTH_SHARING = 0.7
# With more than about a thousand rows, sharing brings nothing more, and the memory of a run is never given back.
_MOST_SHARED_ROWS = 2048
_WARM_UP_ROWS = 64
_MOST_ROWS = 1_000_000
# The assumed time for a row if no row is known that the model answers.
_UNKNOWN_SECONDS = 0.01


class Pace(msgspec.Struct, frozen=True):
    """The speed of a model in its warm-up: `first` seconds for a run of one row, and `further` for each additional row.

    `inline_rows` is how many rows may be computed on the event loop, 0 for a slow model. `shared_rows` is how many rows
    of different requests one run may have, 1 if each request is better computed alone.
    """

    first: float
    further: float
    inline_rows: int
    shared_rows: int

    def seconds(self, rows: int) -> float:
        """Return how many seconds a run over `rows` rows takes."""
        return self.first + (rows - 1) * self.further


class WarmedUp(msgspec.Struct, frozen=True):
    """A row, which the model answers if it answered any of the tried rows, and the model's speed."""

    example: tuple[Value, ...]
    pace: Pace


def warm_up(
    runtime: Runtime,
    spec: ModelSpec,
    reader: RowReader,
    own: tuple[Value, ...] | None,
    guesses: Sequence[tuple[Value, ...]],
) -> WarmedUp:
    """Let a model answer its own example, or else guessed rows, and measure its speed.

    Not every model has a number for every row: 0 has no logarithm. The first row with a finite answer is used. If there
    is none, a model with its own example is refused, but one without may still be good.

    Raises:
        ModelUnusableError: if an answer does not have the promised form, or its own example has no answer.
    """
    failure: Exception | None = None
    for row in (own, *guesses) if own is not None else guesses:
        try:
            return WarmedUp(row, _pace_of(runtime, spec, reader.one(row)))
        except _NotFiniteError as error:
            failure = failure or error
        except ModelUnusableError:
            raise
        except Exception as error:  # noqa: BLE001  (runtimes raise anything, and another row may work)
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
    """Predict a row, of shape [1, columns], alone and many times in one run, and measure both."""
    rows = np.repeat(row, _WARM_UP_ROWS, axis=0)
    _check(runtime.run(row), spec, 1)
    _check(runtime.run(rows), spec, _WARM_UP_ROWS)
    first = min(_seconds(runtime, row) for _ in range(5))
    many = min(_seconds(runtime, rows) for _ in range(2))
    return pace(first, max(many - first, 0.0) / (_WARM_UP_ROWS - 1))


def pace(first: float, further: float) -> Pace:
    """Return how to run a model that takes `first` seconds for one row and `further` for each additional row."""
    inline = rows_within(INLINE_SECONDS, first, further)
    shared = min(_MOST_SHARED_ROWS, inline or max(1, rows_within(_SHARED_SECONDS, first, further)))
    return Pace(first, further, inline, shared if further < _WORTH_SHARING * first else 1)


def rows_within(seconds: float, first: float, further: float) -> int:
    """Return how many rows a model computes in `seconds` seconds, 0 if not even one."""
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
