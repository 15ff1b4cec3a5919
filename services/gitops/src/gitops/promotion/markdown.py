"""Markdown with text of other people, which cannot break it."""

from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a heading for each column."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Return text of other people as code, so that it mentions nobody and formats nothing."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
