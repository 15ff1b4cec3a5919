"""The report: how many mutants were found, by module, and the mutants that were not found."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from checks.mutants.mutate import Mutant
from checks.mutants.results import Fate, Result

_FATES: tuple[Fate, ...] = ("killed", "timed out", "survived", "not run")
FOUND: frozenset[Fate] = frozenset({"killed", "timed out"})


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The results of the mutants of one module, of one part or of all."""

    name: str
    killed: int = 0
    timed_out: int = 0
    survived: int = 0
    not_run: int = 0

    @property
    def rate(self) -> float:
        """The share of mutants that the tests found, from 0 to 1. A mutant that no test runs counts as not found."""
        every = self.killed + self.timed_out + self.survived + self.not_run
        return (self.killed + self.timed_out) / every if every else 0.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A mutant and its result."""

    part: str
    module: str
    line: int
    operator: str
    fate: Fate
    by: str
    tests: int
    diff: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a run: the seed that repeats it, and the result of each mutant."""

    seed: int
    asked: int
    tests: str
    modules: list[Row]
    parts: list[Row]
    mutants: list[Entry]


def report(seed: int, tests: str, mutants: Sequence[Mutant], results: Mapping[str, Result]) -> Report:
    """Build the report; mutants without a result are left out.

    Args:
        seed: The seed of the sample.
        tests: The tests that ran: `quick` or `all`.
        mutants: The sample.
        results: Their results, by key.
    """
    done = [(mutant, results[mutant.key]) for mutant in mutants if mutant.key in results]
    return Report(
        seed=seed, asked=len(mutants), tests=tests,
        modules=_rows([(mutant.module, result.fate) for mutant, result in done]),
        parts=_rows([(mutant.part, result.fate) for mutant, result in done]),
        mutants=[
            Entry(
                part=mutant.part, module=mutant.module, line=mutant.line, operator=mutant.operator.partition("/")[2],
                fate=result.fate, by=result.by, tests=result.tests, diff=mutant.diff,
            )
            for mutant, result in done
        ],
    )  # fmt: skip


def text(written: Report) -> str:
    """Return a report as text: the mutants that were not found, then the table."""
    missed = [entry for entry in written.mutants if entry.fate not in FOUND]
    blocks = [
        f"{entry.module}:{entry.line} {entry.operator}: {entry.fate}, {entry.tests} tests\n{entry.diff}\n"
        for entry in missed
    ]
    width = max((len(row.name) for row in written.modules), default=10)
    head = f"{'module':{width}}  " + "  ".join(f"{fate:>9}" for fate in _FATES) + "    found"
    lines = [head, *(_line(row, width) for row in written.modules), "", *(_line(row, width) for row in written.parts)]
    done = len(written.mutants)
    found = sum(entry.fate in FOUND for entry in written.mutants)
    share = f", {found / done:.1%}" if done else ""
    lines.append(
        f"{found} of {done} mutants found{share}"
        f" (of {written.asked} sampled; seed {written.seed}; {written.tests} tests)"
    )
    return "\n".join([*blocks, *lines]) + "\n"


def _line(row: Row, width: int) -> str:
    counts = (row.killed, row.timed_out, row.survived, row.not_run)
    return f"{row.name:{width}}  " + "  ".join(f"{count:9}" for count in counts) + f"  {row.rate:7.1%}"


def _rows(fates: Sequence[tuple[str, Fate]]) -> list[Row]:
    counts = Counter(fates)
    return [
        Row(
            name=name, killed=counts[name, "killed"], timed_out=counts[name, "timed out"],
            survived=counts[name, "survived"], not_run=counts[name, "not run"],
        )
        for name in dict.fromkeys(name for name, _ in sorted(fates))
    ]  # fmt: skip
