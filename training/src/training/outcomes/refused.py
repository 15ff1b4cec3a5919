"""What is not joined, and why: all of it is counted, and listed up to a limit."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

# Why something is not joined; docs/outcomes.md has a sentence for each.
Reason = Literal[
    "unknown", "unknown_row", "no_id", "no_row", "bad_row", "empty", "type", "double", "contradiction",
    "asked_again", "line", "file",
]  # fmt: skip
# Counted and listed, although the row is joined: the same truth occurs again.
HARMLESS: frozenset[Reason] = frozenset({"double"})
_MOST_LISTED = 100_000
_encoder = msgspec.json.Encoder()


class Refusal(Struct, frozen=True, omit_defaults=False):
    """One thing that is not joined.

    `source` is its place: a table and its row, counted from 1, or a file of the log and its line.
    """

    reason: Reason
    source: str
    request_id: str | None = None
    row: int | None = None
    detail: str = ""


class Refusals:
    """Counts all refusals, and lists the first 100,000."""

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()
        self.listed: list[Refusal] = []

    def add(
        self, reason: Reason, source: str, request_id: str | None = None, row: int | None = None, detail: str = ""
    ) -> None:
        """Add one."""
        self.counts[reason] += 1
        if len(self.listed) < _MOST_LISTED:
            self.listed.append(Refusal(reason, source, request_id, row, detail))

    @property
    def unlisted(self) -> int:
        """The number of refusals beyond the limit of the list."""
        return self.counts.total() - len(self.listed)


def write(refusals: Iterable[Refusal], path: Path) -> None:
    """Write the list as JSON lines."""
    with path.open("wb") as file:
        for refusal in refusals:
            file.write(_encoder.encode(refusal) + b"\n")
