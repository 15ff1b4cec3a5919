"""Finished files on their way to the store: a bounded number of bytes, sent one by one until the store takes them."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from serving.backoff import Backoff
from serving.errors import StoreUnavailableError
from serving.log.files import File
from serving.log.tally import LogTally

logger = logging.getLogger(__name__)

# What may wait for the store. Files of the first minutes of an outage stay, and later ones go.
MOST_BYTES = 16 * 1024 * 1024
# How long one attempt may take, however little the store says at a time.
_ATTEMPT_SECONDS = 30.0
# The waits between attempts when the process is about to end.
_HURRIED_SECONDS = 0.2


class Sender:
    """Sends files from the event loop that it was started in; `offer` may be called by any thread."""

    def __init__(
        self, put: Callable[[str, bytes], Awaitable[None]], backoff: Backoff, tally: LogTally, most_bytes: int
    ) -> None:
        self._put = put
        self._backoff = backoff
        self._tally = tally
        self._most_bytes = most_bytes
        self._files: deque[File] = deque()
        self._bytes = 0
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failing = False

    def offer(self, file: File) -> None:
        """Takes a file, or drops it where too many bytes wait for the store."""
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._take, file)
                return
        except RuntimeError:  # it was closed
            pass
        self._tally.dropped("stopped", file.rows)

    def _take(self, file: File) -> None:
        if self._bytes + len(file.body) > self._most_bytes:
            self._tally.dropped("store", file.rows)
            return
        self._files.append(file)
        self._count(len(file.body))
        self._changed.set()

    def start(self) -> "asyncio.Task[None]":
        """Starts to send, in the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        return self._loop.create_task(self._run())

    async def _run(self) -> None:
        """Sends what comes, until `end` was called and nothing is left."""
        while not (self._ending.is_set() and not self._files):
            if not self._files:
                await self._changed.wait()
                self._changed.clear()
                continue
            file = self._files[0]
            if await self._sent(file):
                self._files.popleft()
                self._count(-len(file.body))
                self._tally.written(file.rows, len(file.body), time.time())
            else:
                await self._rest()

    def end(self) -> None:
        """Has the task end once everything is sent, and waits between attempts be short."""
        self._ending.set()
        self._changed.set()

    def give_up(self) -> None:
        """Counts what was not sent, once the task is over; what comes later is counted as well."""
        self._loop = None
        rows = sum(file.rows for file in self._files)
        if rows:
            self._tally.dropped("stopped", rows)
            logger.warning("the end of the prediction log is lost: the store did not accept it", extra={"rows": rows})
        self._files.clear()
        self._count(-self._bytes)

    async def _sent(self, file: File) -> bool:
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await self._put(file.path, file.body)
        except Exception as error:  # noqa: BLE001  (whatever it is, the next attempt must still be made)
            if not self._failing:
                self._failing = True
                logger.warning("the prediction log cannot be written now", extra={"reason": _reason(error)})
            return False
        if self._failing:
            self._failing = False
            logger.info("the prediction log can be written again")
        self._backoff.reset()
        return True

    async def _rest(self) -> None:
        """Waits before the next attempt; where the process is about to end, no longer."""
        if self._ending.is_set():
            await asyncio.sleep(_HURRIED_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next()):
                await self._ending.wait()

    def _count(self, size: int) -> None:
        self._bytes += size
        self._tally.pending(self._bytes)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the store took longer than {_ATTEMPT_SECONDS:.0f} seconds"
    return str(error) if isinstance(error, StoreUnavailableError) else f"{type(error).__name__}: {error}"[:500]
