"""Measure the serving API beside its ceiling and beside MLflow's own server, and write docs/benchmarks.md.

Every round starts each server anew, pinned to one processor with the load generator on the others, and measures it: at
saturation over many connections, then at fixed rates. Rounds interleave the servers, so that a machine whose speed
drifts slows all of them, and the ratios are taken within a round.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from embedded.processes import Server, program
from embedded.servers import mlflow_server
from tests.load import fortio, targets
from tests.load.report import Round, Subject, machine, ratio_table, throughput_table

_MODEL = "iris-classifier"
_CONNECTIONS = 64
_FIXED_CONNECTIONS = 16
_DOCUMENT = Path("docs/benchmarks.md")
_BEGIN, _END = "<!-- bench: begin -->", "<!-- bench: end -->"


def main() -> None:
    """Run the benchmark and write its tables into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load (default 5)")
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 1000], help="fixed rates, requests/s")
    parser.add_argument("--fortio", type=Path, required=True, help="the load generator")
    parser.add_argument("--no-write", action="store_true", help="print only, leave docs/benchmarks.md alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with mlflow_server(folder) as mlflow:
            _train(mlflow.url)
            subjects = _measure_all(_targets(mlflow.url), folder, options)
    text = _text(subjects, options.seconds)
    sys.stdout.write(text)
    if not options.no_write:
        _write(text)


def _targets(tracking_uri: str) -> list[targets.Target]:
    return [
        targets.this_project(tracking_uri, _MODEL),
        targets.mlflow_models_serve(tracking_uri, _MODEL),
        targets.ceiling(),
    ]


def _train(tracking_uri: str) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    for command in (["run"], ["promote", _MODEL, "--to", "production"]):
        subprocess.run([program("training"), *command], env=environment, check=True, stdout=subprocess.DEVNULL)


def _processors() -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """Return the processors for the server and for the load generator, or None where they cannot be kept apart."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    mine = sorted(os.sched_getaffinity(0))
    return (frozenset(mine[:1]), frozenset(mine[1:])) if len(mine) > 1 else (None, None)


def _measure_all(chosen: Sequence[targets.Target], folder: Path, options: argparse.Namespace) -> list[Subject]:
    subjects = [Subject(target.name, []) for target in chosen]
    for number in range(options.rounds):
        for target, subject in zip(chosen, subjects, strict=True):
            sys.stderr.write(f"round {number + 1} of {options.rounds}: {target.name}\n")
            subject.rounds.append(_measure(target, folder, options))
    return subjects


def _measure(target: targets.Target, folder: Path, options: argparse.Namespace) -> Round:
    own, rest = _processors()
    body = folder / "body.json"
    body.write_bytes(target.body)
    server = target.server(folder, own)
    server.start()
    try:
        ready = server.wait_ready()
        url = server.url + target.path

        def load(connections: int, rate: int, seconds: float) -> fortio.Measured:
            return fortio.run(options.fortio, fortio.Load(url, body, connections, seconds, rate), rest)

        load(_CONNECTIONS, 0, 1.0)
        before = _cpu_seconds(server)
        saturated = load(_CONNECTIONS, 0, options.seconds)
        used = _cpu_seconds(server) - before
        fixed = {rate: _if_held(load(_FIXED_CONNECTIONS, rate, options.seconds), rate) for rate in options.rates}
        return Round(ready, _resident_mb(server), saturated.rate * options.seconds / used, saturated, fixed)
    finally:
        server.stop()


def _if_held(measured: fortio.Measured, rate: int) -> fortio.Measured | None:
    return measured if measured.rate >= 0.95 * rate else None


def _cpu_seconds(server: Server) -> float:
    times = [process.cpu_times() for process in server.family()]
    return sum(t.user + t.system for t in times)


def _resident_mb(server: Server) -> float:
    alive = [process for process in server.family() if process.status() != psutil.STATUS_ZOMBIE]
    return sum(process.memory_info().rss for process in alive) / 1e6


def _text(subjects: Sequence[Subject], seconds: float) -> str:
    rounds = len(subjects[0].rounds)
    return f"""
Measured {datetime.now(UTC):%Y-%m-%d} with `make bench`: {machine()}
Single rows of iris, logistic regression, {rounds} interleaved rounds of {seconds:.0f} s a load; {_CONNECTIONS}
connections at saturation, {_FIXED_CONNECTIONS} at fixed rates; each server on one processor, the load generator on the
others. Medians, with the lowest and highest round in brackets.

{throughput_table(subjects)}

{ratio_table(subjects[0], subjects[1:])}

"""


def _write(text: str) -> None:
    document = _DOCUMENT.read_text()
    head, _, rest = document.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    _DOCUMENT.write_text(f"{head}{_BEGIN}\n{text}{_END}{tail}")


if __name__ == "__main__":
    main()
