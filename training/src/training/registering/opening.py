"""Start the process that opens a model, and read its results."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from training.confinement import Bounds, threads_of
from training.errors import BadInputError
from training.registering.estimators import Answers
from training.registering.messages import (
    ANSWERS_FILE,
    OUTCOME_FILE,
    REQUEST_FILE,
    SKOPS_FILE,
    TABLE_FILE,
    TWIN_FILE,
    Outcome,
    Request,
)

# The variables that Python needs to start with the same libraries. None of them is a secret.
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
_ADDED = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "JOBLIB_MULTIPROCESSING": "0",
    "MPLBACKEND": "Agg", "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip
_LOOK_SECONDS = 0.05
_LAST_LINES = 3
_LAST_BYTES = 4096
_LEFT_BEHIND = (OUTCOME_FILE, ANSWERS_FILE, TWIN_FILE, SKOPS_FILE, TABLE_FILE)


class Opened(Struct, frozen=True, eq=False):
    """A model that was opened: the report, its answers to all rows, and the folder with its forms."""

    outcome: Outcome
    answers: Answers
    folder: Path


def open_confined(request: Request, table: pd.DataFrame, folder: Path, seconds: float) -> Opened:
    """Have a separate process open the model and answer the table.

    Args:
        request: What to open.
        table: The columns of the request, data first, then the difficult rows.
        folder: A folder for the messages between the processes.
        seconds: The time limit.

    Raises:
        BadInputError: The process exceeded a limit, or ended without an outcome.
    """
    (folder / REQUEST_FILE).write_bytes(msgspec.json.encode(request))
    table.to_parquet(folder / TABLE_FILE)
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    own = {name: str(folder) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")}
    # A file: a pipe would be read into memory without a limit, and stays open for as long as any process holds it.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            # -P: the working directory is not searched for modules, because others may put a file there.
            [sys.executable, "-P", "-m", "training.registering.child", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=inherited | _ADDED | own,
            cwd=folder,
            start_new_session=True,
        )
        try:
            _watch(process, request.bounds, seconds)
        finally:
            # Also ends all processes that it started.
            _end(process)
            process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_BYTES))
        return _heard(folder, process.returncode, said.read())


def _watch(process: "subprocess.Popen[bytes]", bounds: Bounds, seconds: float) -> None:
    """Wait until the process ends by itself.

    Raises:
        BadInputError: It takes too long, or has too many threads with those that it started.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(left, _LOOK_SECONDS))
            return
        if threads_of(process.pid) > bounds.threads:
            raise BadInputError(
                f"opening the model started more than {bounds.threads} processes and threads; --threads allows more."
            )
    raise BadInputError(f"opening the model did not end within {seconds:g} s; --seconds allows more.")


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _heard(folder: Path, status: int, said: bytes) -> Opened:
    _refuse_links(folder)
    try:
        outcome = msgspec.json.decode((folder / OUTCOME_FILE).read_bytes(), type=Outcome)
    except (OSError, msgspec.MsgspecError):
        ended = signal.Signals(-status).name if status < 0 else f"status {status}"
        last = " ".join(said.decode(errors="replace").split("\n")[-_LAST_LINES:]).strip()[:300]
        raise BadInputError(
            f"the process that opened the model ended ({ended}); --memory-mb allows it more memory. {last}"
        ) from None
    if outcome.problems:
        return Opened(outcome, Answers(None, None, None), folder)
    with np.load(folder / ANSWERS_FILE, allow_pickle=False) as arrays:
        return Opened(outcome, Answers(*(arrays.get(name) for name in ("codes", "values", "probabilities"))), folder)


def _refuse_links(folder: Path) -> None:
    """Refuse links and special files among the results: this process may read what the other one could not.

    Raises:
        BadInputError: A result is a link or a special file.
    """
    for name in _LEFT_BEHIND:
        with contextlib.suppress(FileNotFoundError):
            found = (folder / name).lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise BadInputError(
                    f"opening the model left a link or a special file as {name}, which may lead to any file of yours: "
                    "do not trust this model."
                )
