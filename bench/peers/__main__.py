"""Compare the serving API with the servers that a user would otherwise pick, and write docs/benchmarks.

All of them serve the same models, which are trained once, each from a separate virtual environment. The measurements
are kept in .cache/peers, from which `--from` writes tables and charts again.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench import document
from bench.measure import processors
from bench.peers import calls, calls_report, charts, loads, mixed, mixed_report, models, report, results, rounds
from bench.peers.environments import EnvironmentFailedError, prepare
from bench.peers.subjects import Subject, everything
from bench.report import machine
from embedded.processes import stopped_by_signals

_MODELS = (*models.NAMES, mixed.NAME, calls.NAME)
_SERVERS = sorted({subject.key for subject in everything()} | {mixed.OURS_NUMBERS})


def main() -> None:
    """Run the benchmark, or draw an earlier one."""
    options = _options()
    if options.earlier:
        measured = [results.load(options.earlier)]
    else:
        with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
            measured = list(_measure(options, Path(folder)))
    for run in measured:
        _tell(run, write=not (options.no_write or options.quick))


def _tell(run: results.Run, *, write: bool) -> None:
    """Print a run, and with `write` put it into its section of the document."""
    sections = {
        mixed.NAME: ("bench-peers-mixed", mixed_report.text),
        calls.NAME: ("bench-peers-grpc", calls_report.text),
    }
    section, draw = sections.get(run.models[0].model, ("bench-peers", report.text))
    text = draw(run)
    sys.stdout.write(text)
    if write:
        document.write(section, text)
        for model in run.models if section == "bench-peers" else ():
            charts.draw(model, min(run.rates))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__.splitlines()[0])
    parser.add_argument("--fortio", type=Path, required=True, help="the load generator")
    parser.add_argument("--ghz", type=Path, required=True, help="the load generator for gRPC calls")
    parser.add_argument("--rounds", type=int, default=5, help="how many times to send each load (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load in seconds (default 2)")
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 500, 1000], help="fixed rates, requests/s")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_SERVERS, help="these servers only")
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=_MODELS, help="these models, or gRPC, only")
    parser.add_argument("--quick", action="store_true", help="a trial: one round of 0.5 s per load, only printed")
    parser.add_argument("--no-write", action="store_true", help="only print, do not change docs/")
    parser.add_argument(
        "--from", dest="earlier", type=Path, metavar="FILE", help="measure nothing, only draw the charts of this file"
    )
    return parser.parse_args()


def _chosen(subjects: list[Subject], names: Sequence[str] | None) -> list[Subject]:
    return [subject for subject in subjects if names is None or subject.key in names]


def _measure(options: argparse.Namespace, folder: Path) -> Iterator[results.Run]:
    plain = _chosen(everything(), options.only)
    how = rounds.Options(
        fortio=options.fortio.absolute(),
        ghz=options.ghz.absolute(),
        descriptors=calls.write_descriptors(folder / "protocol.protoset"),
        rounds=1 if options.quick else options.rounds,
        seconds=0.5 if options.quick else options.seconds,
        plans=(*loads.SATURATING, *loads.at_rates(options.rates)),
        processors=processors(),
    )
    if names := [name for name in options.models if name in models.NAMES]:
        _install(plain)
        runs = []
        for name in names:
            place = _place(name, folder)
            runs.append(rounds.measure(models.train(name, place), plain, place / "servers", how))
        yield _kept(options, results.FILE, how, runs)
    if mixed.NAME in options.models:
        place = _place(mixed.NAME, folder)
        penguins = mixed.train(place)
        chosen = _chosen(mixed.everything(penguins), options.only)
        _install(chosen)
        how = msgspec.structs.replace(how, plans=mixed.PLANS)
        run = rounds.measure(penguins.model, chosen, place / "servers", how)
        yield _kept(options, results.MIXED_FILE, how, [run])
    if calls.NAME in options.models:
        place = _place(calls.NAME, folder)
        chosen = _chosen(calls.everything(), options.only)
        _install(chosen)
        how = msgspec.structs.replace(how, plans=calls.PLANS)
        model = msgspec.structs.replace(models.train(calls.MODEL, place), name=calls.NAME)
        run = rounds.measure(model, chosen, place / "servers", how)
        yield _kept(options, results.CALLS_FILE, how, [run])


def _place(name: str, folder: Path) -> Path:
    sys.stderr.write(f"training {name}\n")
    place = folder / name
    place.mkdir()
    return place


def _kept(options: argparse.Namespace, file: Path, how: rounds.Options, models: list[results.ModelRun]) -> results.Run:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    run = results.Run(today, machine(), how.rounds, how.seconds, sorted(options.rates), models)
    if not options.quick:
        results.save(run, file)
    return run


def _install(subjects: Sequence[Subject]) -> None:
    """Create all environments before anything is measured. The start of a server reports a failed one again."""
    for name in dict.fromkeys(subject.environment for subject in subjects):
        try:
            prepare(name)
        except EnvironmentFailedError as error:
            sys.stderr.write(f"{name} cannot be installed: {error}\n")


if __name__ == "__main__":
    main()
