"""Arrays of numbers are parsed at once, with the values of JSON, and anything else is left to the slow parser."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving import numbers

values = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1))
anything = st.recursive(
    st.none() | st.booleans() | values | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)
spaces = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", ":\t")])


@given(tables, spaces)
@example([[9007199254740993, 0.1], [-0.0, 5e-324]], (",", ":"))
def test_a_table_has_the_values_of_json(rows: list[list[float]], separators: tuple[str, str]) -> None:
    found = numbers.table(json.dumps(rows, separators=separators).encode())
    assert found is not None
    np.testing.assert_array_equal(found, np.array([[float(value) for value in row] for row in rows]))


@given(st.lists(values))
def test_a_list_has_the_values_of_json(row: list[float]) -> None:
    found = numbers.flat(json.dumps(row).encode())
    assert found is not None
    np.testing.assert_array_equal(found, np.array([float(value) for value in row]))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@given(anything)
def test_nothing_else_is_parsed_as_a_table(content: Any) -> None:
    rows = content if isinstance(content, list) else []
    widths = {len(row) if isinstance(row, list) and all(map(is_number, row)) else 0 for row in rows}
    right = len(widths) == 1 and widths != {0}
    assert (numbers.table(json.dumps(content).encode()) is not None) is right


@pytest.mark.parametrize(
    "text", [b"", b"]", b"[[1,2]", b"[[1,2]]]", b"[[1,,2]]", b"[[1 2]]", b"[[01]]", b"[[1e]]", b"[[1e999]]", b"[[NaN]]",
             b"[[1],]", b"[[18446744073709551616]]", b"[[1]] x", b"[[1],[2,3]]", b"[[[1]]]", b"[[--1]]"],
)  # fmt: skip
def test_text_that_is_not_json_or_not_a_table_is_left_alone(text: bytes) -> None:
    assert numbers.table(text) is None


@given(tables, spaces)
def test_a_table_is_found_in_an_object_of_one_field(rows: list[list[float]], separators: tuple[str, str]) -> None:
    body = json.dumps({"instances": rows}, separators=separators).encode()
    found = numbers.table_in(body, "instances")
    assert found is not None
    np.testing.assert_array_equal(found, np.array([[float(value) for value in row] for row in rows]))


@pytest.mark.parametrize(
    "text", [b'{"instances":[[1]],"x":1}', b'{"instanc3s":[[1]]}', b'{"instancs":[[1]]}', b'{"instances":[[1]]}}',
             b'{"instances":[[1],[2,3]]}', b'{"instances":[]}', b'{"instances":[[1]]} 1', b'{"instances":5}', b"[[1]]",
             b'{"instances":[[1]],"instances":[[2]]}', b'{"x":[[1]]}', b'{"instances":[[1]]', b'e{"instances":[[1]]}'],
)  # fmt: skip
def test_another_object_is_left_alone(text: bytes) -> None:
    assert numbers.table_in(text, "instances") is None
