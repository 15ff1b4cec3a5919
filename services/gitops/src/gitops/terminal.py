"""The output for people and programs: steps, tables, sentences, JSON."""

import contextlib
import sys
from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.live import Live
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

# Without a known terminal width, wide enough for a digest beside its label.
_PLAIN_WIDTH = 140
_STEP = 12
_COLOURS = {
    "Synced": "green",
    "Healthy": "green",
    "as pinned": "green",
    "Progressing": "yellow",
    "OutOfSync": "yellow",
    "Degraded": "red",
    "Missing": "red",
}


class Terminal:
    """Writes progress and messages to the error stream, results to the output stream."""

    def __init__(self) -> None:
        self._errors = _console(stderr=True)
        self._out = _console(stderr=False)

    @property
    def interactive(self) -> bool:
        """Whether a person can answer questions."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: str) -> str:
        """Ask the person at the terminal a question."""
        return self._errors.input(Text(question + " "))

    def ask_secret(self, question: str) -> str:
        """Ask a question without echoing the answer."""
        return self._errors.input(Text(question + " "), password=True)

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show inside the block that something is running."""
        with self._errors.status(f"{what} ..."):
            yield

    def done(self, step: str, outcome: str) -> None:
        """Report the outcome of a step."""
        self._line(Text.assemble((f"{step:<{_STEP}} ", "bold green"), outcome))

    def note(self, text: str) -> None:
        """Report something worth knowing that does not stop the command."""
        self._line(Text.assemble((f"{'note':<{_STEP}} ", "bold yellow"), text))

    def error(self, text: str) -> None:
        """Report why the command failed."""
        self._line(Text.assemble(("error: ", "bold red"), text))

    def detail(self, text: str) -> None:
        """Add a line that belongs to the message before it."""
        self._line(Text("    " + text, style="dim"))

    def json(self, content: object) -> None:
        """Write a result for programs: one JSON document on the output stream."""
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")

    def rows(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None
    ) -> None:
        """Write a table of results, at most `width` columns wide if a program reads it."""
        self._out.print(_table(title, columns, rows), width=None if self._out.is_terminal else width)

    def line(self, text: str) -> None:
        """Write one line of the result."""
        self._out.print(Text(text), soft_wrap=True)

    def text(self, text: str, language: str) -> None:
        """Write a block of the result, with syntax colours on a terminal."""
        if self._out.is_terminal:
            self._out.print(Syntax(text, language, background_color="default", word_wrap=False))
        else:
            sys.stdout.write(text)

    @contextlib.contextmanager
    def board(self, title: str, columns: Sequence[str]) -> Iterator["Board"]:
        """Show rows that change during a wait."""
        with contextlib.ExitStack() as stack:
            live = None
            if self._errors.is_terminal:
                live = stack.enter_context(Live(console=self._errors, transient=True, auto_refresh=False))
            yield Board(self, live, title, columns)

    def _line(self, text: Text) -> None:
        self._errors.print(text, soft_wrap=True, highlight=False)


class Board:
    """Rows that change: a live table on a terminal, one line per change in a log."""

    def __init__(self, terminal: Terminal, live: Live | None, title: str, columns: Sequence[str]) -> None:
        self._terminal = terminal
        self._live = live
        self._title = title
        self._columns = columns
        self._before: dict[str, Sequence[str]] = {}

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        """Show the current rows; the first cell of each row is its name."""
        if self._live:
            self._live.update(_table(self._title, self._columns, rows), refresh=True)
            return
        for row in rows:
            if self._before.get(row[0]) != row:
                self._terminal.done("waiting", f"{row[0]}: {', '.join(cell for cell in row[1:] if cell)}")
            self._before[row[0]] = row


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return table


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PLAIN_WIDTH)
