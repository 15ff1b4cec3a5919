"""A process that runs tests many times: it loads what they need once, and forks for each run.

python -m checks.mutants.worker [FILE]     FILE names the modules to load, one a line

It takes a Run as a line of JSON on its input, and writes its Outcome to the output. Most of a short run of these tests
is the loading of scikit-learn, ONNX Runtime and the like. Nothing of the repository is loaded before the fork.
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
# pytest changes the assertions of its plugins when it loads them, and warns if they are loaded.
_OPTIONS = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-q")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: pytest's arguments, for how long at most, and where to keep what is printed and measured.

    `cpu` is in seconds of processor time, which other work on the machine does not use up: it ends endless loops.
    `seconds` is for what waits.
    """

    arguments: list[str]
    cpu: int
    seconds: float
    folder: str
    measure: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it went. `code` is pytest's, and nothing if it took too long or broke down.

    `times` has the seconds of each test that was not skipped, `fixtures` what each test takes, and `modules` the
    modules that were loaded from outside of the repository, in that order.
    """

    code: int | None = None
    late: bool = False
    failed: list[str] = []
    collected: list[str] = []
    times: dict[str, float] = {}
    fixtures: dict[str, list[str]] = {}
    modules: list[str] = []


def main() -> None:
    """Load modules, then run what is asked for until the input ends."""
    if len(sys.argv) > 1:
        _load(Path(sys.argv[1]).read_text(encoding="utf-8").split())
    # The end of this process ends a run that goes on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # What is loaded stays, and pages that nothing writes to are shared with the forks.
    gc.freeze()
    for line in sys.stdin.buffer:
        outcome = _forked(msgspec.json.decode(line, type=Run))
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


def _load(names: list[str]) -> None:
    """Load modules, but no plugins of pytest. One that cannot be loaded here loads when a test needs it."""
    plugins = {point.value.partition(".")[0].partition(":")[0] for point in entry_points(group="pytest11")}
    plugins |= {"hypothesis"}  # its plugin has another name, and complains if this was loaded before it
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
        # Servers that a test leaves behind end, too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    if not ended or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome(late=True)
    return msgspec.json.decode(result.read_bytes(), type=Outcome) if result.exists() else Outcome()


def _child(run: Run, result: Path) -> NoReturn:
    """Run tests, write the outcome, and end without anything that the parent would do at its end."""
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
        # Names in the data are relative to the copy, which has another place in the next run.
        measured.set_option("run:relative_files", value=True)
        # Newer ways to measure do not know which test runs a line.
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
    """Return the loaded modules that are not of the repository."""
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
