"""A skipped test proves nothing, so only skips that tests/skips.yaml lists pass."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

FILE = Path(__file__).parents[1] / "skips.yaml"


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tests that may be skipped: patterns of their node ids and of the reason, and where the test runs instead."""

    tests: str
    reason: str
    runs: str


def allowed(node: str, reason: str, skips: tuple[Skip, ...]) -> bool:
    """Return whether a test may be skipped for a reason, given without `Skipped: `."""
    told = reason.removeprefix("Skipped: ")
    return any(fnmatchcase(node, skip.tests) and fnmatchcase(told, skip.reason) for skip in skips)


def read() -> tuple[Skip, ...]:
    """Read the list. Raise msgspec.ValidationError, which names the fault, if it is not valid."""
    import yaml  # noqa: PLC0415  only a run that skips something needs it

    return msgspec.convert(yaml.safe_load(FILE.read_text(encoding="utf-8")), tuple[Skip, ...])
