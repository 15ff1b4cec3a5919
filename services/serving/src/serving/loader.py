"""The Model Loader: from a version's address to a model that has answered once."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from serving.artifacts.files import Downloaded, ModelFiles
from serving.errors import ModelUnusableError
from serving.runtimes.base import Matrix, Runtime, RuntimeOptions, open_runtime
from serving.signature import ModelSpec, Value, read_example, read_spec

# A prediction that takes longer than this goes to a worker thread, so that others need not wait for it.
INLINE_SECONDS = 0.003
_WARM_UP_ROWS = 64


class ModelSource(msgspec.Struct, frozen=True):
    """Which version to load, from where, and the digest that its files must have (None: not known)."""

    name: str
    version: str
    uri: str
    digest: str | None = None
    release: str = ""


class LoadedModel(msgspec.Struct, frozen=True, eq=False):
    """A model version in memory, ready to predict.

    `inline_rows` is how many rows it computes within `INLINE_SECONDS`, as measured by the warm-up.
    """

    name: str
    version: str
    digest: str
    release: str
    spec: ModelSpec
    runtime: Runtime
    example: tuple[Value, ...]
    inline_rows: int


class ModelLoader:
    """Downloads, proves, loads and warms up model versions."""

    def __init__(self, files: ModelFiles, options: RuntimeOptions) -> None:
        self._files = files
        self._options = options

    async def load(self, source: ModelSource) -> LoadedModel:
        """Loads one version. Nothing of it is parsed before its digest is verified.

        Raises:
            ModelUnusableError: when the version cannot be served as it is.
            StoreUnavailableError: when its files cannot be fetched now.
        """
        downloaded = await self._files.get(source.uri, source.digest)
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
            inline_rows=_warm_up(runtime, spec, example),
        )


def _warm_up(runtime: Runtime, spec: ModelSpec, example: Sequence[Value]) -> int:
    """Predicts the example once and many times over, and estimates how many rows fit into `INLINE_SECONDS`."""
    row = np.array([example], dtype=runtime.dtype)
    rows = np.repeat(row, _WARM_UP_ROWS, axis=0)
    try:
        _check(runtime.run(row), spec, 1)
        _check(runtime.run(rows), spec, _WARM_UP_ROWS)
    except ModelUnusableError:
        raise
    except Exception as error:  # whatever a runtime raises, this model cannot be served
        raise ModelUnusableError(f"its warm-up prediction failed ({type(error).__name__})") from error
    base = min(_seconds(runtime, row) for _ in range(5))
    slope = max(min(_seconds(runtime, rows) for _ in range(2)) - base, 0.0) / (_WARM_UP_ROWS - 1)
    if base > INLINE_SECONDS:
        return 0
    return 1 + int((INLINE_SECONDS - base) / max(slope, 1e-7))


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
