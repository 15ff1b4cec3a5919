"""Choose the tests that should find a fault: those that run the changed line, the quickest first."""

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec
from coverage import CoverageData

from checks.mutants.mutate import Mutant
from checks.mutants.recording import FIXTURE

# The most that the chosen tests may take together, measured without the fault: many quick tests, and some slow ones.
BUDGET = 60.0
# Statements, and other nodes that have lines.
_BLOCKS = (ast.stmt, ast.ExceptHandler)


class Tests(msgspec.Struct, frozen=True, kw_only=True):
    """The tests of a part, as measured in one run; `left_out` failed, or have another name in each run."""

    digest: str
    seconds: dict[str, float]
    fixtures: dict[str, list[str]]
    modules: list[str]
    left_out: list[str] = []


class Choice:
    """Chooses tests by the lines that they ran."""

    def __init__(self, tests: Tests, data: Path) -> None:
        self._tests = tests
        self._data = CoverageData(basename=str(data))
        self._data.read()

    def of(self, mutant: Mutant, source: str, budget: float = BUDGET) -> list[str]:
        """Return the tests that run a mutant's line; empty if no test does.

        Args:
            mutant: The fault.
            source: The module without it.
            budget: Seconds that the tests may take together; at least one is returned.
        """
        lines = {line: set(contexts) for line, contexts in self._data.contexts_by_lineno(mutant.module).items()}
        for narrow, (first, last) in enumerate(_ranges(ast.parse(source), mutant)):
            run = {context for line in range(first, last + 1) for context in lines.get(line, ())}
            found = self._named(run)
            if found:
                return self._within(found, budget)
            # coverage does not count lines in the middle of a statement, only the statement's own.
            if narrow and not run:
                return []
        # The line runs while modules are loaded, such as a constant, so it is not known which tests need it.
        return self._within(set(self._tests.seconds), budget)

    def _named(self, contexts: set[str]) -> set[str]:
        """Return the tests that belong to contexts: tests themselves, and tests that use a fixture among them."""
        fixtures = {context.removeprefix(FIXTURE) for context in contexts if context.startswith(FIXTURE)}
        return {
            test
            for test in self._tests.seconds
            if test in contexts or not fixtures.isdisjoint(self._tests.fixtures.get(test, ()))
        }

    def _within(self, found: set[str], budget: float) -> list[str]:
        chosen: list[str] = []
        total = 0.0
        for test in sorted(found, key=lambda name: (self._tests.seconds[name], name)):
            total += self._tests.seconds[test]
            if chosen and total > budget:
                break
            chosen.append(test)
        return chosen

    def expected(self, chosen: list[str]) -> float:
        """Return how many seconds these tests take without a fault."""
        return sum(self._tests.seconds[test] for test in chosen)


def _ranges(tree: ast.Module, mutant: Mutant) -> Iterator[tuple[int, int]]:
    """Yield ranges of lines, from narrow to wide: the changed ones, their statement's, then those of what encloses it.

    The wider ones are used only if the lines run while the module is loaded. Then the tests are those of the enclosing
    code: for the default of an argument, the tests of the function.
    """
    yield mutant.line, mutant.last_line
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, _BLOCKS) and _first(node) <= mutant.line and mutant.last_line <= (node.end_lineno or 0)
    ]
    around.sort(key=lambda node: (node.end_lineno or 0) - _first(node))
    for node in around:
        body = getattr(node, "body", None)
        if body:
            # The head alone: a test that runs a branch also runs its condition.
            yield _first(node), max(_first(node), body[0].lineno - 1)
        yield _first(node), node.end_lineno or node.lineno
    yield 1, max((node.end_lineno or 0 for node in tree.body), default=1)


def _first(node: ast.stmt | ast.ExceptHandler) -> int:
    """Return the first line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
