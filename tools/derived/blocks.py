"""A marked part of a Markdown file."""

import re
from collections.abc import Iterable, Sequence


def replaced(text: str, name: str, block: str) -> str:
    """Return the text with `block` between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises:
        ValueError: The marks are not there exactly once.
    """
    marks = re.compile(rf"(?s)(<!-- {name}: begin[^\n]* -->\n).*?(\n<!-- {name}: end -->)")
    changed, found = marks.subn(lambda mark: f"{mark[1]}\n{block}\n{mark[2]}", text)
    if found != 1:
        raise ValueError(
            f"`<!-- {name}: begin -->` and `<!-- {name}: end -->` must be there once, and are {found} times"
        )
    return changed


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, without a line end."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
