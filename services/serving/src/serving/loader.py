"""The Model Loader: from a version's address to a model that has answered once."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from serving.artifacts.files import Downloaded, ModelFiles
from serving.baseline import Baseline, read_baseline
from serving.errors import ModelUnusableError
from serving.runtimes.base import Matrix, Runtime, RuntimeOptions, open_runtime
from serving.signature import ModelSpec, Value, read_example, read_spec
from serving.spans import NO_SPANS, Spans

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


class ModelSource(msgspec.Struct, frozen=True):
    """Which version to load, from where, and the digest that its files must have (None: not known)."""

    name: str
    version: str
    uri: str
    digest: str | None = None
    release: str = ""


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


class LoadedModel(msgspec.Struct, frozen=True, eq=False):
    """A model version in memory, ready to predict.

    `bytes` is the size of its files, which its size in memory follows. `baseline` is what training saw, where the
    version carries it.
    """

    name: str
    version: str
    digest: str
    release: str
    spec: ModelSpec
    runtime: Runtime
    example: tuple[Value, ...]
    pace: Pace
    bytes: int = 0
    baseline: Baseline | None = None


class ModelLoader:
    """Downloads and proves model versions, several at once if need be, and opens and warms them up one by one.

    Each load is a span.
    """

    def __init__(self, files: ModelFiles, options: RuntimeOptions, spans: Spans = NO_SPANS) -> None:
        self._files = files
        self._options = options
        self._spans = spans
        # One at a time. They would slow each other's warm-up down, which finds out how fast they are; and msgspec looks
        # at a Struct when it first decodes one, and takes the process down when two threads make it do so at once.
        self._opening = asyncio.Lock()

    async def load(self, source: ModelSource) -> LoadedModel:
        """Loads one version. Nothing of it is parsed before its digest is verified.

        Raises:
            ModelUnusableError: when the version cannot be served as it is.
            StoreUnavailableError: when its files cannot be fetched now.
        """
        with self._spans.span("load model", {"model.name": source.name, "model.version": source.version}):
            downloaded = await self._files.get(source.uri, source.digest)
            async with self._opening:
                return await asyncio.to_thread(self._open, source, downloaded)

    def _open(self, source: ModelSource, downloaded: Downloaded) -> LoadedModel:
        spec = read_spec(downloaded.folder)
        runtime = open_runtime(downloaded.folder, spec, self._options)
        example = read_example(downloaded.folder, spec)
        return LoadedModel(
            name=source.name,
            version=source.version,
            digest=downloaded.digest,
            release=source.release,
            spec=spec,
            runtime=runtime,
            example=example,
            pace=_warm_up(runtime, spec, example),
            bytes=sum(path.stat().st_size for path in downloaded.folder.rglob("*")),
            baseline=read_baseline(downloaded.folder, spec),
        )


def _warm_up(runtime: Runtime, spec: ModelSpec, example: Sequence[Value]) -> Pace:
    """Predicts the example once and many times over, and finds out how long that takes."""
    row = np.array([example], dtype=runtime.dtype)
    rows = np.repeat(row, _WARM_UP_ROWS, axis=0)
    try:
        _check(runtime.run(row), spec, 1)
        _check(runtime.run(rows), spec, _WARM_UP_ROWS)
    except ModelUnusableError:
        raise
    except Exception as error:  # whatever a runtime raises, this model cannot be served
        raise ModelUnusableError(f"its warm-up prediction failed ({type(error).__name__})") from error
    first = min(_seconds(runtime, row) for _ in range(5))
    many = min(_seconds(runtime, rows) for _ in range(2))
    return pace(first, max(many - first, 0.0) / (_WARM_UP_ROWS - 1))


def pace(first: float, further: float) -> Pace:
    """Works out how to run a model that takes `first` seconds for one row and `further` for each more."""
    inline = _rows_within(INLINE_SECONDS, first, further)
    shared = min(_MOST_SHARED_ROWS, inline or max(1, _rows_within(_SHARED_SECONDS, first, further)))
    return Pace(first, further, inline, shared if further < _WORTH_SHARING * first else 1)


def _rows_within(seconds: float, first: float, further: float) -> int:
    if first > seconds:
        return 0
    return 1 + int(min((seconds - first) / max(further, 1e-9), _MOST_ROWS))


def _seconds(runtime: Runtime, rows: Matrix) -> float:
    start = time.perf_counter()
    runtime.run(rows)
    return time.perf_counter() - start


def _check(result: Matrix, spec: ModelSpec, rows: int) -> None:
    shape = (rows, len(spec.classes)) if spec.task == "classification" else (rows,)
    if result.shape != shape:
        raise ModelUnusableError(
            f"its warm-up prediction has shape {result.shape}, but its MLmodel file promises {shape}"
        )
    if not np.isfinite(result).all():
        raise ModelUnusableError("its warm-up prediction is not a finite number")
    if spec.task == "classification" and not np.allclose(result.sum(axis=1), 1.0, atol=1e-3):
        raise ModelUnusableError("the probabilities of its warm-up prediction do not add up to 1")
