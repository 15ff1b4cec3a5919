"""The fault matrix: what each fault is, what is expected of the serving process, and what was seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
MARK = "fault"

_Test = TypeVar("_Test", bound=Callable[..., Any])


class Row(msgspec.Struct, frozen=True):
    """One fault, and what is expected."""

    fault: str
    expected: str


def fault(what: str, expected: str) -> pytest.MarkDecorator:
    """Says of a test which fault it makes, and what is expected then."""
    return pytest.mark.fault(Row(what, expected))


def row_of(item: pytest.Item) -> Row | None:
    """The row that a test stands for."""
    mark = item.get_closest_marker(MARK)
    return mark.args[0] if mark else None


def documented() -> list[Row]:
    """The rows of the tables in docs/reliability.md."""
    head = "| fault | expected | seen |\n| --- | --- | --- |\n"
    tables = DOCUMENT.read_text(encoding="utf-8").split(head)[1:]
    lines = [line.strip("| ").split(" | ") for table in tables for line in table.partition("\n\n")[0].splitlines()]
    return [Row(what, expected) for what, expected, _ in lines]
