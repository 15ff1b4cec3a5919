"""The Model Loader: from a version's address to a model that has answered once."""

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
    """Which version to load, from where, and the digest that its files must have (None: not known).

    `origin` is what the registry tells it from others of the same number by; empty where it was not asked.
    """

    name: str
    version: str
    uri: str
    digest: str | None = None
    release: str = ""
    origin: str = ""


class LoadedModel(msgspec.Struct, frozen=True, eq=False):
    """A model version in memory, ready to predict.

    `bytes` is the size of its files, which its size in memory follows. `baseline` is what training saw, where the
    version carries it. `origin` is that of its source.
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
    """Downloads and proves model versions, several at once if need be, and opens and warms them up one by one.

    Each is opened in a process of its own first, within `bounds`, so that this one opens none that would take its time
    or memory away or end it. Each load is a span.
    """

    def __init__(
        self, files: ModelFiles, options: RuntimeOptions, spans: Spans = NO_SPANS, bounds: Bounds | None = None
    ) -> None:
        self._files = files
        self._options = options
        self._spans = spans
        self._trials = Trials(options, bounds or Bounds())
        # One at a time. They would slow each other's warm-up down, which finds out how fast they are; and msgspec looks
        # at a Struct when it first decodes one, and takes the process down when two threads make it do so at once.
        self._opening = asyncio.Lock()
        self._in_use = False

    async def load(self, source: ModelSource) -> LoadedModel:
        """Loads one version. Nothing of it is parsed before its digest is verified.

        Raises:
            ModelUnusableError: when the version cannot be served as it is.
            StoreUnavailableError: when its files cannot be fetched now.
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
                    # Nobody is served yet, so what the model needs is imported here while it is tried there.
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
    """Has a thread do something. Unlike those of an executor, it keeps nobody from ending the process meanwhile."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(how: Callable[[], None]) -> None:
        if not future.done():
            how()

    def run() -> None:
        try:
            how = partial(future.set_result, work())
        except BaseException as error:  # noqa: BLE001  (raised again where it is awaited)
            how = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(settle, how)

    threading.Thread(target=run, name="open model", daemon=True).start()
    return future
