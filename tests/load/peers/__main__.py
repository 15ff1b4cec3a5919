"""Measure the serving API beside the servers that a user would otherwise pick, and write docs/benchmarks.md.

The same models, trained once, are served by each from a virtual environment of its own. What was measured is kept in
.cache/peers/results.json, from which `--from` writes tables and charts anew.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from embedded.processes import stopped_by_signals
from tests.load import document
from tests.load.measure import processors
from tests.load.peers import charts, loads, models, report, results, rounds
from tests.load.peers.environments import EnvironmentFailedError, prepare
from tests.load.peers.subjects import Subject, everything
from tests.load.report import machine


def main() -> None:
    """Run the benchmark, or draw an earlier one."""
    options = _options()
    if options.earlier:
        run = results.load(options.earlier)
    else:
        with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
            run = _measure(options, Path(folder))
        if not options.quick:
            results.save(run)
    text = report.text(run)
    sys.stdout.write(text)
    if not (options.no_write or options.quick):
        document.replace_between(document.DOCUMENT, "bench-peers", text)
        for model in run.models:
            charts.draw(model, min(run.rates))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__.splitlines()[0])
    parser.add_argument("--fortio", type=Path, required=True, help="the load generator")
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is sent (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load (default 2)")
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 500, 1000], help="fixed rates, requests/s")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these servers only, as in results.json")
    parser.add_argument("--models", nargs="+", choices=models.NAMES, default=models.NAMES, help="these models only")
    parser.add_argument("--quick", action="store_true", help="one round of 0.5 s a load, printed only: to see it work")
    parser.add_argument("--no-write", action="store_true", help="print only, leave docs/ alone")
    parser.add_argument(
        "--from", dest="earlier", type=Path, metavar="FILE", help="measure nothing, draw this results.json"
    )
    return parser.parse_args()


def _chosen(names: Sequence[str] | None) -> list[Subject]:
    subjects = everything()
    known = [subject.key for subject in subjects]
    if unknown := sorted(set(names or ()) - set(known)):
        raise SystemExit(f"--only: there is no {', '.join(unknown)}, only {', '.join(known)}")
    return [subject for subject in subjects if names is None or subject.key in names]


def _measure(options: argparse.Namespace, folder: Path) -> results.Run:
    subjects = _chosen(options.only)
    _install(subjects)
    how = rounds.Options(
        fortio=options.fortio.absolute(),
        rounds=1 if options.quick else options.rounds,
        seconds=0.5 if options.quick else options.seconds,
        plans=(*loads.SATURATING, *loads.at_rates(options.rates)),
        processors=processors(),
    )
    runs = []
    for name in options.models:
        sys.stderr.write(f"training {name}\n")
        place = folder / name
        place.mkdir()
        runs.append(rounds.measure(models.train(name, place), subjects, place / "servers", how))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return results.Run(today, machine(), how.rounds, how.seconds, sorted(options.rates), runs)


def _install(subjects: Sequence[Subject]) -> None:
    """Make all environments before anything is measured; one that fails is told of again when its server is started."""
    for name in dict.fromkeys(subject.environment for subject in subjects):
        try:
            prepare(name)
        except EnvironmentFailedError as error:
            sys.stderr.write(f"{name} cannot be installed: {error}\n")


if __name__ == "__main__":
    main()
