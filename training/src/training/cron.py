"""Cron lines as Kubernetes reads them: a line that it refuses stops the sync of the whole application."""

import re
from collections.abc import Sequence

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, first and last number, and names from the first number on.
_FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of the month", 1, 31, ()), ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)  # fmt: skip
_PART = re.compile(r"(?:[*?]|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


def refuse_wrong(line: str) -> None:
    """Refuse a cron line of five fields if a value is out of range; lines that begin with `@` always pass.

    Raises:
        ValueError: The sentence names the field and the value.
    """
    if line.startswith("@"):
        return
    for text, (name, first, last, names) in zip(line.split(), _FIELDS, strict=True):
        for part in text.split(","):
            if not _holds(part, first, last, names):
                told = f"{first} to {last}" + (f" or {names[0]} to {names[-1]}" if names else "")
                raise ValueError(f"{part!r} is not a valid {name}: use {told}, *, a range 1-5 or a step */2")


def _holds(part: str, first: int, last: int, names: Sequence[str]) -> bool:
    found = _PART.fullmatch(part)
    if not found or (found["step"] is not None and int(found["step"]) == 0):
        return False
    bounds = [_number(found[end], first, names) for end in ("low", "high") if found[end] is not None]
    return all(first <= bound <= last for bound in bounds) and bounds == sorted(bounds)


def _number(text: str, first: int, names: Sequence[str]) -> int:
    """Return the number that a number or a name means; -1 for anything else."""
    if text.lower() in names:
        return first + names.index(text.lower())
    return int(text) if text.isascii() and text.isdigit() else -1
