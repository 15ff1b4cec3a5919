"""The process of a trial (see `trial`): reads a request from its input, opens that version, and reports the result."""

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
    """Run the trial."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    _end_with(request.parent)
    _bound(request)
    # Libraries and models may print to standard output, so the reports get a separate descriptor.
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _say(said, _tried(request, said))


def _tried(request: Request, said: BinaryIO) -> Report:
    try:
        open_folder(Path(request.folder), request.options, lambda name: _say(said, Report(runtime=name)))
    except ModelUnusableError as error:
        return Report(refused=str(error), out_of_memory=_is_memory(error))
    except Exception as error:  # noqa: BLE001  (after any error the model must not be served)
        return Report(refused=f"opening it failed ({type(error).__name__})", out_of_memory=_is_memory(error))
    return Report(passed=True)


def _say(said: BinaryIO, report: Report) -> None:
    said.write(msgspec.json.encode(report) + b"\n")
    said.flush()


def _is_memory(error: BaseException | None) -> bool:
    """Return whether an error comes from a lack of memory, in Python or C++."""
    while error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "bad allocation" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def _bound(request: Request) -> None:
    """Limit what this process may use, and lower its priority below the one that serves."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, request.cpu_seconds, request.cpu_seconds + 1)
    # This limits memory that is written to. It does not limit the address space, of which libraries reserve far more.
    _limit(resource.RLIMIT_DATA, request.memory_bytes)
    os.nice(5)
    # If memory still runs out, the kernel should kill this process first. Some sandboxes do not allow this setting.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(what: int, wanted: int, hard: int | None = None) -> None:
    """Set a limit, but not above the hard limit that the server was started with."""
    _, most = resource.getrlimit(what)

    def within(value: int) -> int:
        return value if most == resource.RLIM_INFINITY else min(value, most)

    resource.setrlimit(what, (within(wanted), within(wanted if hard is None else hard)))


if __name__ == "__main__":
    main()
