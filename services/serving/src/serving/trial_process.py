"""The process of a trial (see `trial`): takes a request from its input, opens that version, and says how it went."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from serving.errors import ModelUnusableError
from serving.opening import open_folder
from serving.trial_messages import Report, Request

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs the trial."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    _end_with(request.parent)
    _bound(request)
    # What a library or a model prints is no report.
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _say(said, _tried(request, said))


def _tried(request: Request, said: BinaryIO) -> Report:
    try:
        open_folder(Path(request.folder), request.options, lambda name: _say(said, Report(runtime=name)))
    except ModelUnusableError as error:
        return Report(refused=str(error), out_of_memory=_is_memory(error))
    except Exception as error:  # noqa: BLE001  (whatever it is, the model must not be let in)
        return Report(refused=f"opening it failed ({type(error).__name__})", out_of_memory=_is_memory(error))
    return Report(passed=True)


def _say(said: BinaryIO, report: Report) -> None:
    said.write(msgspec.json.encode(report) + b"\n")
    said.flush()


def _is_memory(error: BaseException | None) -> bool:
    """Whether an error stems from a lack of memory, as Python and C++ tell it."""
    while error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "bad allocation" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with(parent: int) -> None:
    """Has the kernel end this process when the one that started it ends, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def _bound(request: Request) -> None:
    """Bounds what this process may take, and has it make way for the one that serves."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, request.cpu_seconds, request.cpu_seconds + 1)
    # Memory that is written to, not addresses: libraries reserve far more of these than they use.
    _limit(resource.RLIMIT_DATA, request.memory_bytes)
    os.nice(5)
    # When memory runs out all the same, this is the process to end. Some sandboxes let nobody say so.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(what: int, wanted: int, hard: int | None = None) -> None:
    """Sets a limit, or the one that whoever started the server has set already, where that is lower."""
    _, most = resource.getrlimit(what)

    def within(value: int) -> int:
        return value if most == resource.RLIM_INFINITY else min(value, most)

    resource.setrlimit(what, (within(wanted), within(wanted if hard is None else hard)))


if __name__ == "__main__":
    main()
