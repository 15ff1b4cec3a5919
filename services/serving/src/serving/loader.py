"""The Model Loader: downloads, verifies, opens and warms up a model version."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from modelformat.baseline import Baseline
from serving.artifacts.files import Downloaded, ModelFiles
from serving.columns import Value
from serving.features import RowReader
from serving.opening import open_folder
from serving.runtimes.base import Runtime, RuntimeOptions, opener
from serving.signature import ModelSpec
from serving.spans import NO_SPANS, Spans
from serving.trial import Bounds, Trials
from serving.warmup import Pace

_T = TypeVar("_T")


class ModelSource(msgspec.Struct, frozen=True):
    """Which version to load, its address, and the expected digest of its files (None: not known).

    `origin` is how the registry distinguishes it from other versions with this number. It is empty if the registry was
    not asked.
    """

    name: str
    version: str
    uri: str
    digest: str | None = None
    release: str = ""
    origin: str = ""


class LoadedModel(msgspec.Struct, frozen=True, eq=False):
    """A model version in memory, ready to predict.

    `bytes` is the size of its files, from which its size in memory is estimated. `baseline` is the distribution of its
    training data, if the version has it. `origin` is that of its source.
    """

    name: str
    version: str
    digest: str
    release: str
    spec: ModelSpec
    runtime: Runtime
    reader: RowReader
    example: tuple[Value, ...]
    pace: Pace
    bytes: int = 0
    baseline: Baseline | None = None
    origin: str = ""


class ModelLoader:
    """Downloads and verifies model versions, several at once if necessary. Opens and warms them up one by one.

    Each is first opened in a separate process, within `bounds`. So this process does not open a model that would block
    it, fill its memory, or crash it. Each load is a span.
    """

    def __init__(
        self, files: ModelFiles, options: RuntimeOptions, spans: Spans = NO_SPANS, bounds: Bounds | None = None
    ) -> None:
        self._files = files
        self._options = options
        self._spans = spans
        self._trials = Trials(options, bounds or Bounds())
        # One at a time, for two reasons. The warm-up measures speed, so loads would disturb each other. And msgspec
        # inspects a Struct when it first decodes one, which crashes the process if two threads do it at the same time.
        self._opening = asyncio.Lock()
        self._in_use = False

    async def load(self, source: ModelSource) -> LoadedModel:
        """Load one version. Nothing in it is parsed before its digest is verified.

        Raises:
            ModelUnusableError: if the version cannot be served as it is.
            StoreUnavailableError: if its files cannot be downloaded now.
        """
        with self._spans.span("load model", {"model.name": source.name, "model.version": source.version}):
            downloaded = await self._files.get(source.uri, source.digest)
            with self._files.in_use(downloaded):
                return await self._prove_and_open(source, downloaded)

    async def _prove_and_open(self, source: ModelSource, downloaded: Downloaded) -> LoadedModel:
        async with self._opening:
            with self._spans.span("try model", {"model.digest": downloaded.digest}):
                imports: list[asyncio.Future[object]] = []
                if not self._in_use:
                    # No requests are served yet, so this process imports what the model needs during the trial.
                    await self._trials.run(downloaded, lambda name: imports.append(_aside(lambda: opener(name))))
                else:
                    await self._trials.run(downloaded)
                await asyncio.gather(*imports)
            loaded = await _aside(lambda: self._open(source, downloaded))
            self._in_use = True
            return loaded

    def _open(self, source: ModelSource, downloaded: Downloaded) -> LoadedModel:
        opened = open_folder(downloaded.folder, self._options)
        return LoadedModel(
            name=source.name,
            version=source.version,
            digest=downloaded.digest,
            release=source.release,
            spec=opened.spec,
            runtime=opened.runtime,
            reader=opened.reader,
            example=opened.example,
            pace=opened.pace,
            bytes=downloaded.bytes,
            baseline=opened.baseline,
            origin=source.origin,
        )


def _aside(work: Callable[[], _T]) -> "asyncio.Future[_T]":
    """Run work in a thread. Unlike a thread of an executor, it does not delay the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(how: Callable[[], None]) -> None:
        if not future.done():
            how()

    def run() -> None:
        try:
            how = partial(future.set_result, work())
        except BaseException as error:  # noqa: BLE001  (raised again where the future is awaited)
            how = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(settle, how)

    threading.Thread(target=run, name="open model", daemon=True).start()
    return future
