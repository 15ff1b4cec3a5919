"""The steps of a run: measure the tests, try each mutant with those that run its line, and check those that failed."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeVar

import msgspec

from checks.mutants.choose import Choice, Tests
from checks.mutants.crew import Place
from checks.mutants.mutate import Mutant, mutated
from checks.mutants.parts import Part
from checks.mutants.results import Result

_T = TypeVar("_T")
_MEASURE_SECONDS = 3600.0
_PASSED, _FAILED = 0, 1


class BaselineError(RuntimeError):
    """The tests do not notice whether the code has a fault."""


def spread(places: Sequence[Place], items: Iterable[_T], do: Callable[[Place, _T], None], minutes: float) -> None:
    """Distribute items over places, each of which processes one at a time.

    Args:
        places: The places.
        items: The items, in the order in which they are distributed.
        do: Processes an item in a place.
        minutes: No item starts after this time.
    """
    deadline = time.monotonic() + 60 * minutes
    lock, waiting = threading.Lock(), iter(items)
    stop = threading.Event()

    def take() -> Iterator[_T]:
        while not stop.is_set() and time.monotonic() < deadline:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            yield item

    def work(place: Place) -> None:
        for item in take():
            do(place, item)

    with ThreadPoolExecutor(len(places)) as pool:
        try:
            for done in as_completed([pool.submit(work, place) for place in places]):
                done.result()
        except BaseException:
            stop.set()
            for place in places:
                place.stop()
            raise


def measured(place: Place, part: Part, options: Sequence[str], root: Path, folder: Path) -> Tests:
    """Run the tests of a part without a fault, and record which lines each runs; reuse a record of the same code.

    Args:
        place: The place to run them in.
        part: The part to measure.
        options: pytest's options that choose the tests.
        root: The repository.
        folder: The folder for the records, NAME.json and NAME.coverage.

    Raises:
        BaselineError: pytest did not run the tests, or no test passes.
    """
    kept, lines = folder / f"{part.name}.json", folder / f"{part.name}.coverage"
    digest = part.digest(root)
    if kept.exists() and lines.exists():
        known = msgspec.json.decode(kept.read_bytes(), type=Tests)
        if known.digest == digest:
            return known
    folder.mkdir(parents=True, exist_ok=True)
    lines.unlink(missing_ok=True)
    outcome = place.run([*part.tests, *options], _MEASURE_SECONDS, measure=lines)
    if outcome.code not in {_PASSED, _FAILED}:
        raise BaselineError(f"{part.name}: pytest ended with {outcome.code}:\n{place.log.read_text()[-3000:]}")
    # A test whose name differs from run to run cannot be selected, so it is left out.
    again = set(place.run([*part.tests, *options, "--collect-only"], _MEASURE_SECONDS).collected)
    seconds = {
        test: taken for test, taken in outcome.times.items() if test in again and test not in set(outcome.failed)
    }
    if not seconds:
        raise BaselineError(f"{part.name}: no test passes:\n{place.log.read_text()[-3000:]}")
    tests = Tests(
        digest=digest, seconds=seconds, fixtures={test: outcome.fixtures[test] for test in seconds},
        modules=outcome.modules, left_out=sorted({*outcome.times, *outcome.failed} - seconds.keys()),
    )  # fmt: skip
    kept.write_bytes(msgspec.json.encode(tests))
    return tests


class Judge:
    """Tries mutants of one part."""

    def __init__(self, part: Part, tests: Tests, data: Path, patience: float) -> None:
        self._part = part
        self._tests = tests
        self._choice = Choice(tests, data)
        self._patience = patience

    def check(self, place: Place) -> None:
        """Check that some tests pass, and that they fail if the package cannot be loaded.

        Raises:
            BaselineError: one of these is not true.
        """
        some = sorted(self._tests.seconds, key=lambda test: self._tests.seconds[test])[:3]
        cpu = self._limit(some)
        outcome = place.run(some, cpu)
        if outcome.code != _PASSED:
            raise BaselineError(f"{self._part.name}: tests fail without a fault:\n{place.log.read_text()[-3000:]}")
        with place.tree.changed(f"{self._part.source}/__init__.py", "raise RuntimeError\n"):
            outcome = place.run(some, cpu)
        if outcome.code == _PASSED:
            raise BaselineError(f"{self._part.name}: the tests load another package than {self._part.source}")

    def judge(self, place: Place, mutant: Mutant) -> Result:
        """Run the tests that run the mutant's line, until one fails."""
        source = (place.tree.folder / mutant.module).read_text(encoding="utf-8")
        chosen = self._choice.of(mutant, source)
        if not chosen:
            return Result(key=mutant.key, fate="not run")
        started = time.monotonic()
        with place.tree.changed(mutant.module, mutated(source, mutant.operator, mutant.occurrence)):
            outcome = place.run([*chosen, "-x"], self._limit(chosen))
        seconds = round(time.monotonic() - started, 2)
        if outcome.late:
            return Result(key=mutant.key, fate="timed out", tests=len(chosen), seconds=seconds)
        if outcome.code == _PASSED:
            return Result(key=mutant.key, fate="survived", tests=len(chosen), seconds=seconds)
        by = outcome.failed[0] if outcome.failed else ""
        return Result(key=mutant.key, fate="killed", by=by, tests=len(chosen), seconds=seconds)

    def wrong(self, place: Place, finders: Iterable[str]) -> set[str]:
        """Return those tests that also fail without a fault when they run alone; they are not used again."""
        asked = sorted(set(finders) & self._tests.seconds.keys())
        if not asked:
            return set()
        failed = set(place.run(asked, self._limit(asked)).failed)
        for test in failed:
            self._tests.seconds.pop(test, None)
        return failed

    def _limit(self, chosen: list[str]) -> float:
        return self._choice.expected(chosen) + self._patience


def interleaved(samples: Sequence[Sequence[Mutant]]) -> list[Mutant]:
    """Return the samples of the parts in turns, so that a run that is stopped has tried some of each."""
    return [mutant for mutant in chain.from_iterable(zip_longest(*samples)) if mutant is not None]
