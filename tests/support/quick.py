"""Select the tests that `pytest --quick` leaves out for `make check` and `make dev`: those that take seconds each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

# Slow fixtures, or fixtures of slow tests: an MLflow store with its schema, and a fork with Helm and git. A test that
# uses one of them, directly or through another fixture, is left out.
SLOW_FIXTURES = frozenset({"database", "original"})
MARKER = "slow"


def is_slow(fixtures: Sequence[str], markers: Sequence[str]) -> bool:
    """Return whether a test is left out.

    Args:
        fixtures: The names of all fixtures that it uses, directly or through others.
        markers: The names of its marks.
    """
    return MARKER in markers or not SLOW_FIXTURES.isdisjoint(fixtures)


def leave_out_slow(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests among those that were collected."""
    slow = [
        item
        for item in items
        if is_slow(getattr(item, "fixturenames", ()), [mark.name for mark in item.iter_markers()])
    ]
    if slow:
        config.hook.pytest_deselected(items=slow)
        left_out = set(slow)
        items[:] = [item for item in items if item not in left_out]
