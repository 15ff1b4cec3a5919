"""The trial: a version is opened and answers once in a separate process, before the serving process loads it.

A malicious or broken model file can loop for ever, take all memory or crash the process that opens it. Neither a thread
nor a timeout can stop that, because the library that reads it may hold the GIL. A separate process can be killed at any
moment. It is a new process, because a fork would have the locks of this one's threads without the threads. It inherits
neither credentials nor connections, and it ends with this process.
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

# The variables that a process needs to start Python with the same libraries. None of them is a secret.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
              "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX")  # fmt: skip
_ADDED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
# A model in memory may take this many times the size of its files, in addition to `Bounds.memory_bytes`.
_TIMES_ITS_FILES = 4
# The most bytes of a report that are read.
_REPORT_BYTES = 64 * 1024
# After a failure, the next trial of the version waits this many times as long as the trial took. Otherwise the trials
# of a version that cannot be served would take the processor from the one that is served.
_REST = 10
_REMEMBERED = 16


class Bounds(msgspec.Struct, frozen=True):
    """The limits of the trial of a version: `seconds` of wall time, CPU time, and memory."""

    seconds: float = 120.0
    cpu_seconds: int = 30
    memory_bytes: int = 384 * 1024 * 1024


class Trials:
    """Runs trials, and remembers for a while which versions failed."""

    def __init__(self, options: RuntimeOptions, bounds: Bounds) -> None:
        self._options = options
        self._bounds = bounds
        self._refused: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def run(self, version: Downloaded, chosen: Callable[[str], None] = lambda _: None) -> None:
        """Open a version in a separate process. `chosen` gets the name of its runtime as soon as that is known.

        Raises:
            ModelUnusableError: if that fails or exceeds a limit, or did so recently.
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
    """Start the process of a trial. At the end of the block it is killed if it still runs."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        # Without the working directory in the path, because it may have a file with the name of a module.
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
    """Send the request to the process, and yield its reports until it has sent all."""
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
    except (ValueError, msgspec.MsgspecError):  # a line that is too long, or one that the model wrote
        return
