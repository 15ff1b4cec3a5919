"""Output for people and programs: steps, tables, sentences, JSON."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.steps import Step

# Wide enough for a digest next to its label, for output that is not a terminal.
_PLAIN_WIDTH = 140


class Terminal:
    """Progress and sentences on the error stream, results on the output stream."""

    def __init__(self) -> None:
        self._errors = _console(stderr=True)
        self._out = _console(stderr=False)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show that a step is running, and then its result."""
        step = Step()
        with self._errors.status(f"{name} ..."):
            yield step
        self._line(Text.assemble((f"{name:<9}", "bold green"), step.outcome))

    def note(self, text: str) -> None:
        """Print a remark that does not stop the command."""
        self._line(Text.assemble(("note     ", "bold yellow"), text))

    def error(self, text: str) -> None:
        """Print why the command failed."""
        self._line(Text.assemble(("error: ", "bold red"), text))

    def json(self, content: object) -> None:
        """Print a result for programs: one JSON document on the output stream."""
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")

    def facts(self, title: str, facts: Mapping[str, str | None]) -> None:
        """Print labelled values, one on each line; values that are None are left out."""
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, value in facts.items():
            if value is not None:
                table.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
        self._out.print(table)

    def rows(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table."""
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._out.print(table)

    def line(self, text: str) -> None:
        """Print one line of a result."""
        self._out.print(Text(text), soft_wrap=True)

    def _line(self, text: Text) -> None:
        self._errors.print(text, soft_wrap=True, highlight=False)


def gate_rows(checks: Sequence[Any]) -> list[list[str]]:
    """Return the gate's checks as rows of a table: check, figure, bound, verdict, detail."""
    return [
        [
            check.name,
            "" if check.figure is None else f"{check.figure:.4g}",
            "" if check.bound is None else f"{check.relation} {check.bound:.4g}",
            check.verdict,
            check.detail,
        ]
        for check in checks
    ]


def moment(milliseconds: int) -> str:
    """Return an MLflow timestamp for people, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PLAIN_WIDTH)
