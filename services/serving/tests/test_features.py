"""Rows that fit a signature become a matrix. If they do not fit, each wrong value is named with its column."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.columns import LARGEST_NUMBER, column
from serving.errors import InvalidInputError
from serving.features import RowReader

numbers = st.floats(min_value=-LARGEST_NUMBER, max_value=LARGEST_NUMBER) | st.integers(-(2**63), 2**63)


def reader(*types: str, dtype: Any = np.float32) -> RowReader:
    columns = [column(f"c{index}", kind) for index, kind in enumerate(types)]
    return RowReader(columns, [dtype] * len(columns))


def errors(call: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return {error.field: error.reason for error in caught.value.errors}


@given(st.lists(numbers, min_size=3, max_size=3))
def test_any_finite_numbers_fit_and_stay_finite(row: list[float]) -> None:
    matrix = reader("double", "float", "double").one(row)
    assert matrix.shape == (1, 3)
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix[0], np.array(row, dtype=np.float64), rtol=1e-6, atol=1e-37)


@given(st.lists(st.booleans() | st.integers() | st.floats(), max_size=5))
@example([0, 0, math.nan])
@example([0.0, math.nan, 1.0])
def test_other_values_are_refused(row: list[Any]) -> None:
    fits = len(row) == 3 and not any(
        isinstance(value, bool) or not math.isfinite(value) or abs(value) > LARGEST_NUMBER for value in row
    )
    try:
        matrix = reader("double", "double", "double").one(row)
    except InvalidInputError:
        assert not fits
    else:
        assert fits
        assert np.isfinite(matrix).all()


def test_a_row_of_another_length_names_the_columns() -> None:
    assert errors(lambda: reader("double", "long").one([1.0])) == {"features": "expected 2 values ('c0', 'c1'), got 1"}


def test_every_wrong_value_is_named() -> None:
    found = errors(lambda: reader("double", "long", "boolean", "integer").one([True, 1.5, 0, 2**31]))
    assert found == {
        "features[0]": "expected a number, got a boolean (column 'c0')",
        "features[1]": "expected an integer, got 1.5 (column 'c1')",
        "features[2]": "expected true or false, got 0 (column 'c2')",
        "features[3]": "expected a whole number between -16777216 and 16777216, because the model computes in float32 "
        "and would round others (column 'c3')",
    }


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e39, math.inf, math.nan])
def test_values_that_models_cannot_compute_with_are_refused(value: float) -> None:
    for kind in ("double", "long", "integer"):
        assert list(errors(lambda kind=kind: reader(kind, dtype=np.float64).one([value]))) == ["features[0]"]


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    assert reader("long", "boolean").one([5.0, True]).tolist() == [[5.0, 1.0]]


def test_the_bounds_of_a_type_are_part_of_it() -> None:
    low, high = -(2**31), 2**31 - 1
    integers = reader("integer", dtype=np.float64)
    assert integers.many([[low], [high]]).tolist() == [[low], [high]]
    expected = f"expected a whole number between {low} and {high} (column 'c0')"
    assert errors(lambda: integers.one([low - 1])) == {"features[0]": expected}
    assert errors(lambda: integers.one([high + 1])) == {"features[0]": expected}


def test_many_rows_name_the_row() -> None:
    rows: list[Any] = [[1, 2], [3, False], [4]]
    assert errors(lambda: reader("double", "double").many(rows)) == {
        "instances[1][1]": "expected a number, got a boolean (column 'c1')",
        "instances[2]": "expected 2 values ('c0', 'c1'), got 1",
    }
    assert errors(lambda: reader("double").many([])) == {"instances": "expected at least one row"}


def test_of_many_errors_only_the_first_are_reported() -> None:
    rows: list[Any] = [[True]] * 1000
    assert len(errors(lambda: reader("double").many(rows))) == 10


def test_of_many_unknown_names_only_the_first_are_checked() -> None:
    row: dict[str, Any] = {f"n{index}": 1.0 for index in range(200_000)}
    tracemalloc.start()
    try:
        found = errors(lambda: reader(*["double"] * 50).one(row))
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found["features"].startswith("unknown column 'n9'; the model has 'c0', 'c1'")
    assert most < 2**20
