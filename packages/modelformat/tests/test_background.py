"""Rows drawn from a baseline have its shares, and valid values for each kind of column."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelformat.background import background_of
from modelformat.baseline import FeatureBaseline

ROWS = 40


def drawn(feature: FeatureBaseline, kind: Any, rows: int = ROWS) -> list[Any]:
    found: list[Any] = background_of([feature], [kind], rows)[:, 0].tolist()
    return found


def share(found: list[Any], low: float, high: float) -> float:
    return float(np.mean([low <= value < high for value in found]))


def test_numbers_fall_into_the_bins_by_their_shares() -> None:
    found = drawn(FeatureBaseline(name="a", edges=[2.0, 4.0, 8.0], shares=[0.5, 0.25, 0.0, 0.25]), "number")
    assert [share(found, *ends) for ends in ((1, 2), (2, 4), (4, 8), (8, 10))] == [0.5, 0.25, 0.0, 0.25]


def test_categories_and_gaps_have_their_shares() -> None:
    feature = FeatureBaseline(name="a", categories=["x", "y"], shares=[0.75, 0.15, 0.1], nulls=0.5)
    found = drawn(feature, "category")
    assert (found.count(""), found.count("x")) == (20, 17)
    # "y" also gets the share of the other categories, which have no names.
    assert found.count("y") == 3
    number = drawn(FeatureBaseline(name="a", edges=[1.0, 2.0], shares=[0.0, 1.0, 0.0], nulls=0.25), "number")
    assert sum(map(math.isnan, number)) == 10


def test_a_column_without_any_value_has_nothing_but_gaps() -> None:
    assert all(map(math.isnan, drawn(FeatureBaseline(name="a", edges=[0.0], shares=[0.0, 0.0], nulls=1.0), "number")))
    nothing = FeatureBaseline(name="a", categories=["x"], shares=[0.0, 0.0], nulls=1.0)
    assert set(drawn(nothing, "category")) == {""}


def test_booleans_of_every_baseline_that_training_writes() -> None:
    tiny = float(np.nextafter(np.float32(0), np.float32(1)))
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    for edges, shares, true in (
        ([1.0], [0.75, 0.25], 10),
        ([0.0, tiny], [0.0, 0.95, 0.05], 2),
        ([1.0, above], [0.0, 1.0, 0.0], ROWS),
    ):
        found = drawn(FeatureBaseline(name="a", edges=edges, shares=shares), "boolean")
        assert set(found) <= {0.0, 1.0}
        assert sum(found) == true


def test_whole_numbers_stay_whole_and_rare_ones_occur() -> None:
    found = drawn(FeatureBaseline(name="a", edges=[2.0, 5.0], shares=[0.25, 0.5, 0.25]), "integer")
    assert all(value == int(value) for value in found)
    assert [share(found, *ends) for ends in ((-9, 2), (2, 5), (5, 99))] == [0.25, 0.5, 0.25]
    tiny = float(np.nextafter(np.float32(0), np.float32(1)))
    assert sum(drawn(FeatureBaseline(name="a", edges=[0.0, tiny], shares=[0.0, 0.9, 0.1]), "integer")) == 4


def test_the_same_baseline_gives_the_same_rows_and_columns_are_independent() -> None:
    features = [FeatureBaseline(name=name, edges=[0.0, 1.0], shares=[0.3, 0.4, 0.3]) for name in "ab"]
    first, second = (background_of(features, ["number", "number"]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float64
    assert not np.array_equal(first[:, 0], first[:, 1])


@given(
    edges=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6, unique=True).map(sorted),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["number", "integer", "datetime"]),
)
def test_values_are_finite_and_within_the_bins(edges: list[float], seed: int, kind: Any) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(edges) + 1)).tolist()
    feature = FeatureBaseline(name="a", edges=edges, shares=shares)
    wide = (edges[-1] - edges[0]) / 2 + 2
    for value in drawn(feature, kind, 16):
        assert edges[0] - wide <= value <= edges[-1] + wide
