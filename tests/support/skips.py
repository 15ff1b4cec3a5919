"""A test that is skipped proves nothing, so only those skips pass that tests/skips.yaml lists."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

FILE = Path(__file__).parents[1] / "skips.yaml"


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tests that may be skipped: patterns of their node ids and of the reason, and what has the test run."""

    tests: str
    reason: str
    runs: str


def allowed(node: str, reason: str, skips: tuple[Skip, ...]) -> bool:
    """Say whether a test may be skipped for a reason, of which `Skipped: ` is no part."""
    told = reason.removeprefix("Skipped: ")
    return any(fnmatchcase(node, skip.tests) and fnmatchcase(told, skip.reason) for skip in skips)


def read() -> tuple[Skip, ...]:
    """Read the list; msgspec.ValidationError names what is wrong with it."""
    import yaml  # noqa: PLC0415  only a run that skips something needs it

    return msgspec.convert(yaml.safe_load(FILE.read_text(encoding="utf-8")), tuple[Skip, ...])
