"""Runs vegeta, the load generator for more requests than a server can answer, and reads every answer.

vegeta (MIT, https://github.com/tsenart/vegeta) sends each request at its time, whether earlier ones are answered or
not. It keeps connections open after refusals too.
"""

import csv
import tempfile
from pathlib import Path

import msgspec

from bench.program import run

_TIMEOUT_SECONDS = 10


class Attack(msgspec.Struct, frozen=True):
    """What to send: POST `body` as JSON to `url`, `rate` requests/s, over at most `connections`."""

    url: str
    body: Path
    connections: int
    seconds: float
    rate: int


class Answer(msgspec.Struct, frozen=True):
    """One answer: its HTTP status, or 0 if there was none, and how long it took."""

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
        limit = load.seconds + 3 * _TIMEOUT_SECONDS
        run(command, cpus, against=load.url, seconds=limit, stdin=f"POST {load.url}\n")
        encode = [str(program), "encode", "--to=csv", str(answers)]
        lines = run(encode, cpus, against=load.url, seconds=limit).splitlines()
    # The columns are the timestamp in ns, the status, the latency in ns, and others that are not needed here.
    return [Answer(int(line[1]), int(line[2]) / 1e6) for line in csv.reader(lines)]
