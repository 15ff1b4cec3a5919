"""Run vegeta, the load generator for more than a server can answer, and read every answer.

vegeta (MIT, https://github.com/tsenart/vegeta) sends each request when its time has come, whatever became of those
before, and keeps connections open after refusals too.
"""

import csv
import subprocess
import tempfile
from pathlib import Path

import msgspec

from tests.load.pinning import pin_to

_TIMEOUT_SECONDS = 10


class LoadFailedError(RuntimeError):
    """The load generator could not run."""


class Attack(msgspec.Struct, frozen=True):
    """What to send: POST `body` as JSON to `url`, `rate` requests/s, over at most `connections`."""

    url: str
    body: Path
    connections: int
    seconds: float
    rate: int


class Answer(msgspec.Struct, frozen=True):
    """One answer: its HTTP status, or 0 where there was none, and how long it took."""

    status: int
    milliseconds: float


def attack(program: Path, load: Attack, cpus: frozenset[int] | None) -> list[Answer]:
    """Send one load and return all answers.

    Args:
        program: the vegeta executable.
        load: what to send.
        cpus: the processors that vegeta may use; None for all.

    Raises:
        LoadFailedError: vegeta failed.
    """
    with tempfile.TemporaryDirectory(prefix="vegeta-") as name:
        answers = Path(name) / "answers.bin"
        command = [
            str(program), "attack", f"-rate={load.rate}/s", f"-duration={load.seconds}s", f"-body={load.body}",
            "-header=content-type: application/json", f"-timeout={_TIMEOUT_SECONDS}s", "-max-body=0",
            f"-connections={load.connections}", f"-max-connections={load.connections}",
            f"-max-workers={load.connections}", f"-output={answers}",
        ]  # fmt: skip
        _run(command, f"POST {load.url}\n", load.seconds, cpus)
        lines = _run([str(program), "encode", "--to=csv", str(answers)], "", load.seconds, cpus).splitlines()
    # timestamp in ns, status, latency in ns, and what is not asked for here
    return [Answer(int(line[1]), int(line[2]) / 1e6) for line in csv.reader(lines)]


def _run(command: list[str], stdin: str, seconds: float, cpus: frozenset[int] | None) -> str:
    limit = seconds + 3 * _TIMEOUT_SECONDS
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=limit, preexec_fn=pin_to(cpus)
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailedError(f"vegeta had not come to an end after {limit:.0f} s") from error
    if done.returncode != 0:
        raise LoadFailedError(f"vegeta failed: {done.stderr[-500:]}")
    return done.stdout
