"""Puts measurements between two markers of their page in docs/benchmarks."""

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path("docs/benchmarks")
# The page of each section, by the name in its markers.
PAGES: Mapping[str, Path] = {
    "bench": FOLDER / "uvicorn.md",
    "bench-overload": FOLDER / "overload.md",
    "bench-peers": FOLDER / "servers.md",
    "bench-peers-grpc": FOLDER / "grpc.md",
    "bench-peers-mixed": FOLDER / "text.md",
    "bench-scale": FOLDER / "scale.md",
    "bench-services": FOLDER / "services.md",
}


class MarkerMissingError(ValueError):
    """The document lacks a marker, so there is no place for the text."""


def write(section: str, text: str) -> None:
    """Replace the text of a section on its page.

    Raises:
        MarkerMissingError: a marker is missing.
    """
    replace_between(PAGES[section], section, text)


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
