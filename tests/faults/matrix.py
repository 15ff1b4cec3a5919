"""The fault matrix: the faults, the expected result of the serving process, and the observed one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

_DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTS = (_DOCS / "misbehaving-callers.md", _DOCS / "overload.md", _DOCS / "outages.md")
MARK = "fault"

_Test = TypeVar("_Test", bound=Callable[..., Any])


class Row(msgspec.Struct, frozen=True):
    """One fault, and the expected result."""

    fault: str
    expected: str


def fault(what: str, expected: str) -> pytest.MarkDecorator:
    """Mark a test with the fault that it causes, and the expected result."""
    return pytest.mark.fault(Row(what, expected))


def row_of(item: pytest.Item) -> Row | None:
    """Return the row of a test, if it has one."""
    mark = item.get_closest_marker(MARK)
    return mark.args[0] if mark else None


def documented() -> list[Row]:
    """Return the rows of the tables in the documents."""
    head = "| fault | expected | seen |\n| --- | --- | --- |\n"
    tables = [table for document in DOCUMENTS for table in document.read_text(encoding="utf-8").split(head)[1:]]
    lines = [line.strip("| ").split(" | ") for table in tables for line in table.partition("\n\n")[0].splitlines()]
    return [Row(what, expected) for what, expected, _ in lines]
