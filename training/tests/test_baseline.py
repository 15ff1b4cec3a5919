"""Proves that a baseline has the distributions of every feature and of the answers, in float32 numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.baseline import encoded, measure_baseline
from training.kinds import Column

SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
values = st.floats(-1e6, 1e6, width=32)


def measured(rows: np.ndarray, scores: np.ndarray = SCORES, classes: tuple[Any, ...] = ("a", "b")) -> Any:
    names = [Column(f"f{index}") for index in range(rows.shape[1])]
    return json.loads(encoded(measure_baseline(names, rows, scores, classes)))


@settings(max_examples=100)
@given(arrays(np.float64, st.tuples(st.integers(2, 400), st.just(2)), elements=values))
def test_every_row_is_in_one_bin(rows: np.ndarray) -> None:
    found = measured(rows)
    assert (found["version"], found["rows"]) == (1, len(rows))
    assert [feature["name"] for feature in found["features"]] == ["f0", "f1"]
    for index, feature in enumerate(found["features"]):
        edges, shares = feature["edges"], feature["shares"]
        assert edges == sorted(set(edges))
        assert edges == np.array(edges, dtype=np.float32).tolist()
        assert len(shares) == len(edges) + 1 <= 10
        bounds = [-np.inf, *edges, np.inf]
        for low, high, share in zip(bounds, bounds[1:], shares, strict=False):
            column = rows[:, index]
            assert share == pytest.approx(((low <= column) & (column < high)).mean())


def test_bins_have_similar_sizes_and_as_many_as_the_rows_allow() -> None:
    rows = np.random.default_rng(1).normal(size=(1000, 1))
    assert measured(rows)["features"][0]["shares"] == pytest.approx([0.1] * 10, abs=0.002)
    assert len(measured(rows[:90])["features"][0]["shares"]) == 3


@pytest.mark.parametrize("column", [[5.0] * 100, [0.0] * 90 + [1.0] * 10])
def test_new_values_of_a_nearly_constant_feature_have_their_own_bins(column: list[float]) -> None:
    feature = measured(np.array(column)[:, None])["features"][0]
    smallest = min(column)
    bins = np.searchsorted(feature["edges"], [smallest - 0.1, smallest, smallest + 0.1], side="right")
    assert bins.tolist() == [0, 1, 2]
    assert feature["shares"][0] == 0


def test_answers_are_counted_by_class_or_by_size() -> None:
    rows = np.zeros((4, 1))
    assert measured(rows)["prediction"] == {"rows": 4, "shares": [0.25, 0.75], "classes": ["a", "b"]}
    found = measured(rows, np.arange(100.0)[:, None], ())["prediction"]
    assert found == {"rows": 100, "shares": [0.33, 0.33, 0.34], "edges": [33.0, 66.0]}


def test_writing_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(50, 3))
    assert encoded(measure_baseline([Column(name) for name in "abc"], rows, SCORES, ("a", "b"))) == encoded(
        measure_baseline([Column(name) for name in "abc"], rows, SCORES, ("a", "b"))
    )
