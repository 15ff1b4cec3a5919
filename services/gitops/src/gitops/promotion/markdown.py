"""Pieces of Markdown that what other people wrote cannot break."""

from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a heading for each column."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Words of other people as they are: nobody is mentioned, and nothing is formatted."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
