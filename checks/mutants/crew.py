"""Copies of the repository with a process each that runs tests there."""

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

# As in conftest.py, which comes too late for what is loaded before it. Hash seeds decide the order of sets.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
_STOP_SECONDS = 10.0
# How much longer a run may take than it may compute: tests wait for servers, and the processors may have other work.
_WAITING = 10.0


class WorkerFailedError(RuntimeError):
    """The process that runs tests is gone. The message holds the end of what it printed."""


class Place:
    """A copy of the repository, and the process that runs tests in it; as a context manager, it ends the process."""

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
        """What the last run printed."""
        return self._folder / "log.txt"

    def start(self, modules: Sequence[str] = ()) -> None:
        """Start the process, in place of the one that runs.

        Args:
            modules: What it loads before it takes the first run.
        """
        self.stop()
        (self._folder / "modules.txt").write_text("\n".join(modules), encoding="utf-8")
        with (self._folder / "worker.txt").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "checks.mutants.worker", str(self._folder / "modules.txt")],
                cwd=self._copy, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def stop(self) -> None:
        """End the process, and a run that goes on, whose caller gets an error."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        # This waits, and closes the pipes.
        with contextlib.suppress(BrokenPipeError), process:
            pass

    def run(self, arguments: Sequence[str], cpu: float, measure: Path | None = None) -> Outcome:
        """Run tests.

        Args:
            arguments: pytest's.
            cpu: After how many seconds of processor time to stop the run. One that waits may take longer than that.
            measure: The file for the lines that each test runs, if they are wanted.

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
    """Make that many copies, each with a process, and remove the processes in the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Place(root, folder / str(number), parts)) for number in range(count)]
