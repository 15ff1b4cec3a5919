"""The results of a run, for the terminal and for a file."""

import time
from pathlib import Path

import msgspec


class Step(msgspec.Struct, frozen=True):
    """One test: its name, its outcome, and its duration."""

    name: str
    outcome: str
    seconds: float


class Report(msgspec.Struct):
    """Steps and facts, in the order in which they were added."""

    title: str
    steps: list[Step] = []
    facts: dict[str, list[str]] = {}
    started: float = msgspec.field(default_factory=time.monotonic)

    def add(self, heading: str, *lines: str) -> None:
        """Add lines under a heading."""
        self.facts.setdefault(heading, []).extend(lines)

    def table(self, heading: str, rows: list[tuple[object, ...]]) -> None:
        """Add a table under a heading. The first row has the names of the columns."""
        lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        lines.insert(1, "|" + " --- |" * len(rows[0]))
        self.add(heading, *lines)

    def text(self) -> str:
        """Return the whole report as Markdown."""
        lines = [f"# {self.title}", "", "| step | outcome | seconds |", "| --- | --- | ---: |"]
        lines += [f"| {step.name} | {step.outcome} | {step.seconds:.0f} |" for step in self.steps]
        lines.append(f"| all | | {time.monotonic() - self.started:.0f} |")
        for heading, facts in self.facts.items():
            lines += ["", f"## {heading}", "", *facts]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the report to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text())
