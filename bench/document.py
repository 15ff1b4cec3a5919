"""Puts text between two markers of a Markdown document."""

from pathlib import Path

DOCUMENT = Path("docs/benchmarks.md")


class MarkerMissingError(ValueError):
    """The document lacks a marker, so there is no place for the text."""


def replace_between(document: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises:
        MarkerMissingError: a marker is missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = document.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise MarkerMissingError(f"{document} has no {begin} or no {end} after it")
    document.write_text(f"{head}{begin}\n{text}{end}{tail}")
