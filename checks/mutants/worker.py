"""A process that runs tests many times: it loads the libraries once, and forks for each run.

python -m checks.mutants.worker [FILE]     FILE has the names of the modules to load, one on each line

It reads a Run as a line of JSON, and writes its Outcome to the output. Loading scikit-learn, ONNX Runtime and other
libraries would take most of the time of a short run. Modules of the repository are loaded only after the fork.
"""

import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import NoReturn

import coverage
import msgspec
import pytest

from checks.mutants.recording import Recorder

_PAUSE = 0.02
# pytest rewrites the assertions of its plugins when it loads them, and warns if they are already loaded.
_OPTIONS = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-q")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: pytest's arguments, the limits, and the files for output and measurements.

    `cpu` limits CPU time in seconds, which does not depend on other work of the machine: it ends endless loops.
    `seconds` ends runs that wait.
    """

    arguments: list[str]
    cpu: int
    seconds: float
    folder: str
    measure: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. `code` is pytest's exit code, or None if the run took too long or crashed.

    `times` has the seconds of each test that was not skipped, `fixtures` the fixtures that each test uses, and
    `modules` the loaded modules from outside the repository, in the order of loading.
    """

    code: int | None = None
    late: bool = False
    failed: list[str] = []
    collected: list[str] = []
    times: dict[str, float] = {}
    fixtures: dict[str, list[str]] = {}
    modules: list[str] = []


def main() -> None:
    """Load modules, then process runs until the input ends."""
    if len(sys.argv) > 1:
        _load(Path(sys.argv[1]).read_text(encoding="utf-8").split())
    # The end of this process also ends its current run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Loaded modules stay, and the forks share memory pages that nobody writes to.
    gc.freeze()
    for line in sys.stdin.buffer:
        outcome = _forked(msgspec.json.decode(line, type=Run))
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


def _load(names: list[str]) -> None:
    """Load modules, except plugins of pytest. Tests load those modules that cannot be loaded here."""
    plugins = {point.value.partition(".")[0].partition(":")[0] for point in entry_points(group="pytest11")}
    plugins |= {"hypothesis"}  # its plugin has another name, and fails if hypothesis is already loaded
    for name in names:
        if name.partition(".")[0] not in plugins:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _forked(run: Run) -> Outcome:
    """Run tests in a fork with its own process group, and end that group."""
    result = Path(run.folder) / "outcome.json"
    result.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _child(run, result)
    deadline = time.monotonic() + run.seconds
    ended, status = False, 0
    try:
        while not ended and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            done, status = os.waitpid(child, os.WNOHANG)
            ended = done == child
    finally:
        # Also ends servers that a test left running.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    if not ended or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome(late=True)
    return msgspec.json.decode(result.read_bytes(), type=Outcome) if result.exists() else Outcome()


def _child(run: Run, result: Path) -> NoReturn:
    """Run tests, write the outcome, and end without the parent's clean-up."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (run.cpu, run.cpu + 1))
        log = os.open(Path(run.folder) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(to, descriptor)
        outcome = _run(run)
        part = result.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(outcome))
        part.rename(result)
        code = 0
    finally:
        os._exit(code)


def _run(run: Run) -> Outcome:
    here = Path.cwd()
    measured = None
    if run.measure:
        measured = coverage.Coverage(data_file=run.measure, config_file=False, include=["services/*/src/*"])
        # Paths in the data are relative to the copy, which has another path in the next run.
        measured.set_option("run:relative_files", value=True)
        # The newer ways to measure cannot record which test runs a line.
        measured.set_option("run:core", value="ctrace")
        measured.start()
    recorder = Recorder(measured)
    code = pytest.main([*_OPTIONS, f"--basetemp={run.folder}/tests", *run.arguments], plugins=[recorder])
    if measured:
        measured.stop()
        measured.save()
    return Outcome(
        code=int(code), failed=list(recorder.failed), collected=recorder.collected,
        times=recorder.seconds, fixtures=recorder.fixtures, modules=_outside(here),
    )  # fmt: skip


def _outside(root: Path) -> list[str]:
    """Return the loaded modules that do not belong to the repository."""
    here = f"{root}{os.sep}"
    return [
        name
        for name, module in list(sys.modules.items())
        if name != "__main__"
        and getattr(module, "__spec__", None)
        and getattr(module, "__file__", None)
        and not str(module.__file__).startswith(here)
    ]


if __name__ == "__main__":
    main()
