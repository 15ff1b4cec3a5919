"""Send the serving API more requests than it can answer, and measure how long accepted requests wait.

One server runs on one processor, and the load generator on the others. First, 16 connections that send without a pause
measure the rate that the server can answer. Then shares of that rate are sent, each request at its time, whether
earlier ones are answered or not. A request has so many rows that it costs the server more CPU time than the generator.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from bench import document, fortio, vegeta
from bench.measure import processors
from bench.own import own_server
from bench.report import machine, table
from bench.targets import ROW
from embedded.processes import Server

_PATH = "/predict"
_SATURATING = 16
_CONNECTIONS = 1024
_SHARES = (0.5, 0.9, 1.5, 2.0, 3.0)


class Step(msgspec.Struct, frozen=True):
    """The result for one share of the rate that the server can answer. Rates in requests/s, times in milliseconds."""

    share: float
    """0 for the load that measured that rate."""
    offered: float
    accepted: float
    refused: float
    p50_ms: float
    p99_ms: float
    refused_p99_ms: float


def main() -> int:
    """Run the benchmark, and write its table into docs/benchmarks."""
    parser = argparse.ArgumentParser(prog="make bench-overload", description=__doc__.splitlines()[0])
    parser.add_argument("--tools", type=Path, required=True, help="the folder with fortio and vegeta")
    parser.add_argument("--rounds", type=int, default=5, help="how many times to send each rate (default 5)")
    parser.add_argument("--rows", type=int, default=500, help="rows in each request (default 500)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each load in seconds (default 4)")
    parser.add_argument("--no-write", action="store_true", help="only print, do not change docs/benchmarks")
    options = parser.parse_args()
    with own_server() as own:
        body = own.folder / "body.json"
        body.write_text(json.dumps({"instances": [ROW] * options.rows}))
        rounds = [_round(own.server, own.server.url + _PATH, body, options) for _ in range(options.rounds)]
    text = _text(rounds, options)
    sys.stdout.write(text)
    if not options.no_write:
        document.write("bench-overload", text)
    return 0


def _round(server: Server, url: str, body: Path, options: argparse.Namespace) -> list[Step]:
    cpus = processors().generator
    most = fortio.run(options.tools / "fortio", fortio.Load(url, body, _SATURATING, options.seconds), cpus)
    steps = [Step(0, most.rate, most.rate, 0, most.p50_ms, most.p99_ms, math.nan)]
    for share in _SHARES:
        load = vegeta.Attack(url, body, _CONNECTIONS, options.seconds, int(most.rate * share))
        steps.append(_step(share, vegeta.attack(options.tools / "vegeta", load, cpus), options.seconds))
        sys.stderr.write(f"{share:g} of {most.rate:,.0f}/s: {steps[-1]}\n")
    server.wait_ready()
    return steps


def _step(share: float, answers: Sequence[vegeta.Answer], seconds: float) -> Step:
    accepted = [answer.milliseconds for answer in answers if answer.status == 200]
    refused = [answer.milliseconds for answer in answers if answer.status == 503]
    if len(accepted) + len(refused) < len(answers):
        others = {answer.status for answer in answers} - {200, 503}
        raise SystemExit(f"some requests got neither an answer nor a refusal, but {sorted(others)}")
    return Step(
        share,
        len(answers) / seconds,
        len(accepted) / seconds,
        len(refused) / seconds,
        _quantile(accepted, 0.5),
        _quantile(accepted, 0.99),
        _quantile(refused, 0.99),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least `share` of them do not exceed; NaN if there are none."""
    return float(np.quantile(values, share, method="inverted_cdf")) if values else math.nan


def _text(rounds: Sequence[Sequence[Step]], options: argparse.Namespace) -> str:
    lines = [_line(steps) for steps in zip(*rounds, strict=True)]
    heads = ["offered, times what it can answer", "sent/s", "answered/s", "refused/s"]
    heads += ["p50 ms of answers", "p99 ms of answers", "p99 ms of refusals"]
    return f"""
Measured {datetime.now(UTC):%Y-%m-%d} with `make bench-overload`: {machine()}
Requests of {options.rows} rows, logistic regression, {len(rounds)} rounds of {options.seconds:g} s a load, medians; the
server on one processor, the load generator on the others.

{table(heads, lines)}

"""


def _line(steps: Sequence[Step]) -> list[str]:
    """Return the table's line of one share: the medians over all rounds."""
    rates = [[step.offered for step in steps], [step.accepted for step in steps], [step.refused for step in steps]]
    times = [[step.p50_ms for step in steps], [step.p99_ms for step in steps], [step.refused_p99_ms for step in steps]]
    share = f"{steps[0].share:g}" if steps[0].share else f"{_SATURATING} connections without a pause"
    return [share, *(f"{median(values):,.0f}" for values in rates), *(_shown(median(values)) for values in times)]


def _shown(milliseconds: float) -> str:
    return "-" if math.isnan(milliseconds) else f"{milliseconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
