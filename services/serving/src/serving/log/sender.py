"""Sends finished files to the store: keeps a bounded number of bytes, and sends one by one until the store has them."""

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

# The most bytes that may wait for the store. In an outage the first files are kept, and later ones are dropped.
MOST_BYTES = 16 * 1024 * 1024
# The most time for one attempt, even if the store sends a little data now and then.
_ATTEMPT_SECONDS = 30.0
# The delay between attempts when the process is about to end.
_HURRIED_SECONDS = 0.2


class Sender:
    """Sends files from the event loop in which it was started. Any thread may call `offer`."""

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
        """Queue a file, or drop it if too many bytes wait for the store."""
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
        """Start to send, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        return self._loop.create_task(self._run())

    async def _run(self) -> None:
        """Send files as they come, until `end` was called and none is left."""
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
        """Let the task end when everything is sent, with short delays between attempts."""
        self._ending.set()
        self._changed.set()

    def give_up(self) -> None:
        """Count the rows that were not sent, after the task has ended. Later files are counted as well."""
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
        except Exception as error:  # noqa: BLE001  (after any error there must be another attempt)
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
        """Wait before the next attempt, only briefly if the process is about to end."""
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
