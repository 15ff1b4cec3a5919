"""Copies of the repository, each with a process that runs tests there."""

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from checks.mutants.parts import ROOT, Part
from checks.mutants.tree import Tree
from checks.mutants.worker import Outcome, Run

# The threads as in conftest.py, which is loaded too late for some libraries. Hash seeds decide the order of sets.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
_STOP_SECONDS = 10.0
# How many seconds a run may take for each second of CPU time: tests wait for servers, and the machine may be busy.
_WAITING = 10.0


class WorkerFailedError(RuntimeError):
    """The process that runs tests has ended. The message has the end of its output."""


class Place:
    """A copy of the repository, and the process that runs tests in it. As a context manager, it ends the process."""

    def __init__(self, root: Path, folder: Path, parts: Sequence[Part]) -> None:
        self._folder = folder
        self._copy = folder / "copy"
        self._copy.mkdir(parents=True)
        self.tree = Tree(root, self._copy)
        sources = sorted({str((self._copy / part.source).parent) for part in parts})
        others = sorted(str(source) for source in self._copy.glob("*/*/src") if str(source) not in sources)
        self._environment = {
            **os.environ,
            **_ENVIRONMENT,
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(root / ".cache/tools/bin"), os.environ["PATH"]]
            ),
            "PYTHONPATH": os.pathsep.join(
                [*sources, *others, str(self._copy / "training/src"), str(self._copy), str(ROOT)]
            ),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """The file with the output of the last run."""
        return self._folder / "log.txt"

    def start(self, modules: Sequence[str] = ()) -> None:
        """Start the process, after ending a previous one.

        Args:
            modules: The modules to load before the first run.
        """
        self.stop()
        (self._folder / "modules.txt").write_text("\n".join(modules), encoding="utf-8")
        with (self._folder / "worker.txt").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "checks.mutants.worker", str(self._folder / "modules.txt")],
                cwd=self._copy, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def stop(self) -> None:
        """End the process and its current run, whose caller gets an error."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        # Leaving the block waits for the process and closes its pipes.
        with contextlib.suppress(BrokenPipeError), process:
            pass

    def run(self, arguments: Sequence[str], cpu: float, measure: Path | None = None) -> Outcome:
        """Run tests.

        Args:
            arguments: pytest's arguments.
            cpu: The limit of CPU time in seconds. A run that waits may take longer than that.
            measure: The file for the lines that each test runs, if they are needed.

        Raises:
            WorkerFailedError: the process has ended.
        """
        run = Run(
            arguments=list(arguments),
            cpu=math.ceil(cpu),
            seconds=cpu * _WAITING,
            folder=str(self._folder),
            measure=str(measure or ""),
        )
        answer = b""
        process = self._process
        if process and process.stdin and process.stdout:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(run) + b"\n")
                process.stdin.flush()
                answer = process.stdout.readline()
        if not answer:
            said = (self._folder / "worker.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
            message = f"the process that runs tests has ended: {said}"
            raise WorkerFailedError(message)
        return msgspec.json.decode(answer, type=Outcome)


@contextlib.contextmanager
def places(root: Path, folder: Path, parts: Sequence[Part], count: int) -> Iterator[list[Place]]:
    """Yield a number of copies, each with a process, and end the processes afterwards."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Place(root, folder / str(number), parts)) for number in range(count)]
