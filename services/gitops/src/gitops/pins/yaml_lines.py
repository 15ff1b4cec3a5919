"""Restore unchanged lines byte for byte in a text that a YAML library wrote."""

import difflib
import re
from collections.abc import Sequence

_ENDING = re.compile(r"(\r\n|\n|\r)?\Z")


def line_ending(line: str) -> tuple[str, str]:
    """Split a line into its content and its line end."""
    end = _ENDING.search(line)
    at = end.start() if end else len(line)
    return line[:at], line[at:]


def spliced(lines: Sequence[str], before: str, after: str) -> str:
    """Return the original lines with the changes from `before` to `after`, in the original indentation and line ends.

    Args:
        lines: The text as people wrote it, with line ends.
        before: The same text, as the library writes it.
        after: The edited text, as the library writes it.
    """
    old, new = before.splitlines(), after.splitlines()
    ends = [line_ending(line)[1] for line in lines]
    end = max(set(filter(None, ends)), key=ends.count, default="\n")
    if len(old) != len(lines):
        # The library moved lines, so they cannot be matched with the original ones.
        return "".join(line + end for line in new)
    result: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            result += lines[i1:i2]
            continue
        result += [_indented(line, lines, old, i1) + end for line in new[j1:j2]]
    return "".join(result)


def _indented(line: str, lines: Sequence[str], old: Sequence[str], at: int) -> str:
    """Return a line of the library, indented as the nearest original line of its depth, searched upwards first."""
    depth = _depth(line)
    for number in [*range(min(at, len(old) - 1), -1, -1), *range(at + 1, len(old))]:
        if old[number].strip() and _depth(old[number]) == depth:
            return " " * _depth(lines[number]) + line.lstrip()
        if number <= at and old[number].strip() and _depth(old[number]) < depth:
            # Deeper than all lines before it: add the difference of the library's indentation.
            return " " * (_depth(lines[number]) + depth - _depth(old[number])) + line.lstrip()
    return line


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
