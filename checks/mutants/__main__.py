"""Put small faults into the code, one at a time and in a copy, and see whether the unit tests find them.

A run can be stopped and started again: it continues with the mutants that have no result yet. The results are in
.cache/mutants, and a report is in .cache/mutants/report.json.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from checks.mutants import mutate, report, session
from checks.mutants.crew import Place, WorkerFailedError, places
from checks.mutants.mutate import Mutant
from checks.mutants.parts import ROOT, Part, UnknownPartError, parts
from checks.mutants.results import Result, Results
from embedded.processes import stopped_by_signals

KEPT = ROOT / ".cache" / "mutants"
_NICE = 10
_ROUNDS = 3


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run: the sample, the tests, and the limits.

    `patience` is the CPU time in seconds that tests may take in addition to their time without a fault.
    """

    count: int
    seed: int
    part: list[str]
    all: bool
    again: list[str]
    minutes: float
    processes: int
    patience: float = 30.0


def main() -> int:
    """Run the command; the exit code is 0 whatever the tests find."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="how many mutants (default 300)")
    parser.add_argument("--seed", type=int, default=21, help="decides the sample (default 21)")
    parser.add_argument("--part", action="append", default=[], help="a part of parts.yaml (default all; repeatable)")
    parser.add_argument("--all", action="store_true", help="also run slow tests on what the quick ones did not find")
    parser.add_argument(
        "--again", action="append", default=[], choices=["killed", "survived", "timed out", "not run"],
        help="try again what had this result (repeatable)",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=600.0, help="start no mutant after so many minutes")
    parser.add_argument("--processes", type=int, default=2, help="how many mutants to try at a time (default 2)")
    os.nice(_NICE)
    try:
        options = msgspec.convert(vars(parser.parse_args()), type=Options)
        with stopped_by_signals():
            written = run(ROOT, parts(options.part), options, KEPT)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; run the same command again to continue.\n")
        return 130
    except (UnknownPartError, WorkerFailedError, session.BaselineError) as error:
        sys.stderr.write(f"mutants: {error}\n")
        return 1
    sys.stdout.write(report.text(written))
    return 0


def run(root: Path, chosen: Sequence[Part], options: Options, kept: Path) -> report.Report:
    """Try the mutants of a sample that have no result yet, and write the report.

    Args:
        root: The repository.
        chosen: The parts to put faults into.
        options: The sample and the limits.
        kept: The folder for results, measurements and the report.

    Raises:
        BaselineError: the tests do not notice whether the code has a fault.
        WorkerFailedError: a process that runs tests has ended.
    """
    share = options.count // len(chosen)
    mutants = session.interleaved([mutate.kept_sample(root, part, options.seed, share, kept) for part in chosen])
    kind = "all" if options.all else "quick"
    results = Results(kept / f"{kind}.jsonl")
    quick = Results(kept / "quick.jsonl")
    for mutant in mutants if options.all else ():
        found = quick.get(mutant.key)
        if found and found.fate in report.FOUND and results.get(mutant.key) is None:
            results.add(found)
    known = {mutant.key: results.get(mutant.key) for mutant in mutants}
    results.forget(key for key, result in known.items() if result and result.fate in options.again)
    if any(results.get(mutant.key) is None for mutant in mutants):
        with (
            tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder,
            places(root, Path(folder), chosen, options.processes) as crew,
        ):
            _try(root, chosen, mutants, results, crew, options, kept / kind)
    have = {mutant.key: result for mutant in mutants if (result := results.get(mutant.key))}
    written = report.report(options.seed, kind, mutants, have)
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(written)))
    return written


def _try(
    root: Path, chosen: Sequence[Part], mutants: Sequence[Mutant], results: Results, crew: list[Place],
    options: Options, measures: Path,
) -> None:  # fmt: skip
    """Measure the tests, then try the mutants without a result."""
    started = time.monotonic()
    select = () if options.all else ("--quick",)
    tests = {}

    def measure(place: Place, part: Part) -> None:
        tests[part.name] = session.measured(place, part, select, root, measures)
        left_out = tests[part.name].left_out
        without = f"; these fail without a fault, and are not used: {', '.join(left_out)}" if left_out else ""
        _say(f"{part.name}: {len(tests[part.name].seconds)} tests pass{without}")

    session.spread(crew, chosen, measure, options.minutes)
    modules = list(dict.fromkeys(name for part in chosen for name in tests[part.name].modules))
    for place in crew:
        place.start(modules)
    judges = {
        part.name: session.Judge(part, tests[part.name], measures / f"{part.name}.coverage", options.patience)
        for part in chosen
    }
    for judge in judges.values():
        judge.check(crew[0])
    for _ in range(_ROUNDS):
        todo = [mutant for mutant in mutants if results.get(mutant.key) is None]
        numbers = itertools.count(1)

        def judge_one(place: Place, mutant: Mutant, numbers: Iterator[int] = numbers, count: int = len(todo)) -> None:
            result = judges[mutant.part].judge(place, mutant)
            results.add(result)
            _say(f"[{next(numbers)}/{count}] {_told(mutant, result)}")

        session.spread(crew, todo, judge_one, options.minutes - (time.monotonic() - started) / 60)
        wrong = set()
        for part in chosen:
            finders = [
                result.by
                for mutant in todo
                if mutant.part == part.name and (result := results.get(mutant.key)) and result.fate == "killed"
            ]
            wrong |= judges[part.name].wrong(crew[0], finders)
        if not wrong:
            break
        _say(f"tests that fail without a fault, too, and are not used: {', '.join(sorted(wrong))}")
        results.drop([mutant.key for mutant in todo if (got := results.get(mutant.key)) and got.by in wrong])


def _told(mutant: Mutant, result: Result) -> str:
    operator = mutant.operator.partition("/")[2]
    by = f" by {result.by}" if result.by else ""
    return f"{result.fate} {mutant.module}:{mutant.line} {operator}{by} ({result.seconds:.1f} s)"


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
