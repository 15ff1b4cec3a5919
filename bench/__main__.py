"""Compare the serving API with its ceiling and with MLflow's own server, and write docs/benchmarks.

Every round starts each server again, pinned to one processor with the load generator on the others, and measures it: at
saturation over many connections, then at fixed rates. Rounds interleave the servers: if the machine's speed changes, it
changes for all of them. Ratios are taken within a round.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import document, fortio, targets
from bench.measure import Sample, processors, resident_mb, sample
from bench.report import Round, Subject, machine, ratio_table, throughput_table
from embedded.processes import program
from embedded.servers import mlflow_server
from tests.integration.stores import s3_server

_MODEL = "iris-classifier"
_CONNECTIONS = 64
_FIXED_CONNECTIONS = 16


def main() -> None:
    """Run the benchmark and write its tables into docs/benchmarks."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many times to measure each server (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load in seconds (default 5)")
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 1000, 3000], help="fixed rates, requests/s")
    parser.add_argument("--fortio", type=Path, required=True, help="the load generator")
    parser.add_argument("--no-write", action="store_true", help="only print, do not change docs/benchmarks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with mlflow_server(folder) as mlflow, _log_store(folder) as log:
            _train(mlflow.url)
            subjects = _measure_all(_targets(mlflow.url, log), folder, options)
    text = _text(subjects, options.seconds)
    sys.stdout.write(text)
    if not options.no_write:
        document.write("bench", text)


@contextlib.contextmanager
def _log_store(folder: Path) -> Iterator[dict[str, str]]:
    """Run a store inside the block, and yield the settings of a prediction log for a tenth of the requests."""
    server, store = s3_server(folder)
    server.start()
    try:
        server.wait_ready()
        store.client(store.writer).create_bucket(Bucket="predictions")
        yield {
            "PREDICTION_LOG": "s3://predictions/bench/iris",
            "PREDICTION_LOG_SAMPLE": "0.1",
            "PREDICTION_LOG_SECONDS": "2",
            "PREDICTION_LOG_ACCESS_KEY_ID": store.writer.access_key,
            "PREDICTION_LOG_SECRET_ACCESS_KEY": store.writer.secret_key,
            "S3_ENDPOINT_URL": store.url,
        }
    finally:
        server.kill()


def _targets(tracking_uri: str, log: dict[str, str]) -> list[targets.Target]:
    return [
        targets.this_project(tracking_uri, _MODEL),
        targets.this_project(tracking_uri, _MODEL, shadow="0"),
        targets.this_project(tracking_uri, _MODEL, shadow="0.1"),
        targets.this_project(tracking_uri, _MODEL, log=log),
        targets.mlflow_models_serve(tracking_uri, _MODEL),
        targets.ceiling(),
    ]


def _train(tracking_uri: str) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    for command in (["run"], ["promote", _MODEL, "--to", "production"]):
        subprocess.run([program("training"), *command], env=environment, check=True, stdout=subprocess.DEVNULL)


def _measure_all(chosen: Sequence[targets.Target], folder: Path, options: argparse.Namespace) -> list[Subject]:
    subjects = [Subject(target.name, []) for target in chosen]
    for number in range(options.rounds):
        for target, subject in zip(chosen, subjects, strict=True):
            sys.stderr.write(f"round {number + 1} of {options.rounds}: {target.name}\n")
            subject.rounds.append(_measure(target, folder, options))
    return subjects


def _measure(target: targets.Target, folder: Path, options: argparse.Namespace) -> Round:
    cpus = processors()
    body = folder / "body.json"
    body.write_bytes(target.body)
    server = target.server(folder, cpus.server)
    server.start()
    try:
        ready = server.wait_ready()
        while not target.settled(server.url):
            time.sleep(0.1)
        url = server.url + target.path

        def load(connections: int, rate: int, seconds: float) -> Sample:
            asked = fortio.Load(url, body, connections, seconds, rate)
            return sample(server, options.fortio, asked, cpus.generator)

        load(_CONNECTIONS, 0, 1.0)
        saturated = load(_CONNECTIONS, 0, options.seconds)
        fixed = {
            rate: _if_held(load(_FIXED_CONNECTIONS, rate, options.seconds).measured, rate) for rate in options.rates
        }
        return Round(ready, resident_mb(server), saturated, fixed)
    finally:
        server.stop()


def _if_held(measured: fortio.Measured, rate: int) -> fortio.Measured | None:
    return measured if measured.holds(rate, _FIXED_CONNECTIONS) else None


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


if __name__ == "__main__":
    main()
