"""The trial: a version is opened and answers once in a separate process, before the serving process loads it.

A file that passes for a model can loop for ever, take all memory or end the process that opens it, and neither a thread
nor a timeout keeps it from that: the library that reads it may hold the interpreter's lock. Another process can be
ended at any moment. It is a new process, because a fork of this one would have its threads' locks without its threads;
it inherits neither credentials nor connections, and it ends with this one.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

import msgspec

from serving.artifacts.files import Downloaded
from serving.errors import ModelUnusableError
from serving.runtimes.base import RuntimeOptions
from serving.trial_messages import Report, Request

logger = logging.getLogger(__name__)

# What a process needs to start Python with the same libraries, and nothing that might be a secret.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
              "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX")  # fmt: skip
_ADDED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
# A model in memory may take so many times the size of its files, beside what `Bounds.memory_bytes` gives to all.
_TIMES_ITS_FILES = 4
# The longest report that is listened to.
_REPORT_BYTES = 64 * 1024
# A version that failed is tried again once so many times what its trial took has passed, or the trials of one that
# cannot be served would take the processor from the one that is.
_REST = 10
_REMEMBERED = 16


class Bounds(msgspec.Struct, frozen=True):
    """What the trial of a version may take: `seconds` of wall time, CPU time, and memory."""

    seconds: float = 120.0
    cpu_seconds: int = 30
    memory_bytes: int = 384 * 1024 * 1024


class Trials:
    """Tries versions, and remembers for a while which failed."""

    def __init__(self, options: RuntimeOptions, bounds: Bounds) -> None:
        self._options = options
        self._bounds = bounds
        self._refused: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def run(self, version: Downloaded, chosen: Callable[[str], None] = lambda _: None) -> None:
        """Opens a version in a separate process. `chosen` gets the name of its runtime as soon as that is known.

        Raises:
            ModelUnusableError: when that failed or took too much, now or not long ago.
        """
        reason, until = self._refused.get(version.digest, ("", 0.0))
        start = time.monotonic()
        if start < until:
            raise ModelUnusableError(reason)
        try:
            await self._try(version, chosen)
        except ModelUnusableError as error:
            now = time.monotonic()
            self._refused[version.digest] = str(error), now + _REST * (now - start)
            self._refused.move_to_end(version.digest)
            if len(self._refused) > _REMEMBERED:
                self._refused.popitem(last=False)
            raise

    async def _try(self, version: Downloaded, chosen: Callable[[str], None]) -> None:
        bounds = self._bounds
        memory = bounds.memory_bytes + _TIMES_ITS_FILES * version.bytes
        request = Request(str(version.folder.absolute()), self._options, bounds.cpu_seconds, memory, os.getpid())
        last = Report()
        async with _process() as process:
            try:
                async with asyncio.timeout(bounds.seconds):
                    async for last in _reports(process, request):
                        if last.runtime:
                            chosen(last.runtime)
                    status = await process.wait()
            except TimeoutError:
                raise ModelUnusableError(
                    f"its trial in a separate process did not end within {bounds.seconds:g} s; if the model is known "
                    "to be good, raise TRIAL_SECONDS"
                ) from None
        if not last.passed:
            raise ModelUnusableError(self._reason(last, status, memory))

    def _reason(self, last: Report, status: int, memory: int) -> str:
        if last.out_of_memory or status == -signal.SIGKILL:
            return (
                f"its trial in a separate process needed more than {memory // 2**20} MiB of memory; if the model is "
                "known to be good, raise TRIAL_MEMORY_BYTES and the memory limit of the process"
            )
        if last.refused:
            return last.refused
        if status == -getattr(signal, "SIGXCPU", 0):
            return (
                f"its trial in a separate process took more than {self._bounds.cpu_seconds} s of CPU time; if "
                "the model is known to be good, raise TRIAL_CPU_SECONDS"
            )
        ended = signal.Signals(-status).name if status < 0 else f"status {status}"
        return f"the process that opened it ended ({ended}), so its files are broken or malicious"


@contextlib.asynccontextmanager
async def _process() -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts the process of a trial; on the way out it is gone, whatever happened."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        # Without the working directory, where others may put a file that is called like a module.
        *(sys.executable, "-P", "-m", "serving.trial_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment | _ADDED,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _reports(process: asyncio.subprocess.Process, request: Request) -> AsyncIterator[Report]:
    """Tells the process what to do and gives what it says, until it has said all."""
    assert process.stdin  # noqa: S101  (narrows the types: both are pipes)
    assert process.stdout  # noqa: S101
    with contextlib.suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(request))
        process.stdin.close()
    left = _REPORT_BYTES
    try:
        async for line in process.stdout:
            left -= len(line)
            if left < 0:
                return
            yield msgspec.json.decode(line, type=Report)
    except (ValueError, msgspec.MsgspecError):  # a line without end, or one that the model wrote
        return
