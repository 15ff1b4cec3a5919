"""Contributions add up, and are those of the definition. training/tests compares them with the `shap` package."""

import itertools
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelformat.shapley import Explainer

Rows = np.ndarray[Any, Any]
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, 3.0, 1.5])


def linear(rows: Rows) -> Rows:
    found: Rows = rows.astype(float) @ WEIGHTS[: rows.shape[1]]
    return found


def tangled(rows: Rows) -> Rows:
    """Return two outputs that depend on interactions of columns."""
    first, second = rows[:, 0].astype(float), rows[:, 1].astype(float)
    rest = rows[:, 2:].astype(float).sum(axis=1)
    return np.column_stack([first * second + np.sin(rest), np.maximum(first, rest)])


def background(columns: int, rows: int = 8, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def by_definition(model: Callable[[Rows], Rows], row: Rows, rows: Rows) -> Rows:
    """Return the averages over all orders, computed one by one."""
    columns = len(row)
    orders = list(itertools.permutations(range(columns)))
    found = []
    for order in orders:
        mixed, gains = rows.copy(), np.empty((columns, model(rows[:1]).size))
        before = model(mixed).reshape(len(rows), -1).mean(axis=0)
        for column in order:
            mixed[:, column] = row[column]
            after = model(mixed).reshape(len(rows), -1).mean(axis=0)
            gains[column], before = after - before, after
        found.append(gains)
    mean: Rows = np.mean(found, axis=0)
    return mean


@pytest.mark.parametrize("model", [linear, tangled])
def test_all_sets_give_the_values_of_the_definition(model: Callable[[Rows], Rows]) -> None:
    rows, row = background(5), background(5, 1, seed=2)[0]
    explainer = Explainer(model, rows, evaluations=8 << 5)
    assert explainer.exact
    explained = explainer.explain(row)
    np.testing.assert_allclose(explained.contributions, by_definition(model, row, rows), atol=1e-12)
    assert not explained.error.any()


def test_drawn_orders_are_within_their_standard_error() -> None:
    rows, row = background(7), background(7, 1, seed=2)[0]
    exact = Explainer(tangled, rows, evaluations=8 << 7).explain(row).contributions
    rough, fine = (Explainer(tangled, rows, evaluations) for evaluations in (200, 900))
    assert (rough.exact, fine.exact) == (False, False)
    assert rough.cost <= 200 + 1
    for explainer in (rough, fine):
        explained = explainer.explain(row)
        # Five standard errors: chance alone exceeds that once in a million.
        assert (np.abs(explained.contributions - exact).max(axis=0) < 5 * explained.error).all()
    assert (fine.explain(row).error < rough.explain(row).error).all()


def test_the_contributions_to_a_sum_are_its_terms_with_few_orders_too() -> None:
    rows, row = background(6), background(6, 1, seed=2)[0]
    explained = Explainer(linear, rows, evaluations=80).explain(row)
    np.testing.assert_allclose(explained.contributions[:, 0], WEIGHTS * (row - rows.mean(axis=0)), atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.integers(1, 9),
    rows=st.integers(1, 9),
    evaluations=st.integers(1, 4000),
    batch=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
)
def test_contributions_add_up_to_the_answer(columns: int, rows: int, evaluations: int, batch: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    given_rows, row = random.normal(size=(rows, columns)), random.normal(size=columns)
    weights = random.normal(size=(columns, 3))

    def model(asked: Rows) -> Rows:
        asked_at_once.append(len(asked))
        scores = np.exp(np.tanh(asked @ weights) + np.abs(asked).min(axis=1, keepdims=True))
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]

    asked_at_once: list[int] = []
    explainer = Explainer(model, given_rows, evaluations, batch=batch)
    explained = explainer.explain(row)
    np.testing.assert_array_equal(explained.value, model(row.reshape(1, -1))[0])
    np.testing.assert_allclose(explained.contributions.sum(axis=0), explained.value - explained.base, atol=1e-12)
    # The limits hold, except for the answer itself and for one order and its reverse.
    assert sum(asked_at_once[:-1]) <= max(evaluations, 2 * columns, 2 * rows) + rows + 1
    assert max(asked_at_once) <= batch


def test_a_column_that_the_model_ignores_contributes_nothing() -> None:
    rows, row = background(6), background(6, 1, seed=2)[0]
    for evaluations in (100, 8 << 6):
        assert Explainer(linear, rows, evaluations).explain(row).contributions[3, 0] == pytest.approx(0, abs=1e-12)


def test_text_and_nulls_are_columns_like_others() -> None:
    rows = np.array([["a", 1.0], ["b", math.nan], ["", 3.0]], dtype=object)

    def model(asked: Rows) -> Rows:
        numbers = np.nan_to_num(asked[:, 1].astype(float), nan=2.0)
        return (asked[:, 0] == "a") * 10.0 + (asked[:, 0] == "") * 4.0 + numbers  # type: ignore[no-any-return]

    explained = Explainer(model, rows, 100).explain(np.array(["a", math.nan], dtype=object))
    assert (explained.value[0], explained.base[0]) == (12.0, pytest.approx(14 / 3 + 2))
    np.testing.assert_allclose(explained.contributions[:, 0], [10 - 14 / 3, 0], atol=1e-12)


def test_the_same_row_has_the_same_explanation_each_time() -> None:
    rows, row = background(12), background(12, 1, seed=2)[0]
    first, second = (Explainer(tangled, rows, 500).explain(row) for _ in range(2))
    np.testing.assert_array_equal(first.contributions, second.contributions)


def test_memory_does_not_grow_with_the_square_of_the_columns() -> None:
    columns = 1500
    rows, row = background(columns, 4), background(columns, 1, seed=2)[0]
    explainer = Explainer(lambda asked: asked.sum(axis=1, keepdims=True), rows, 100, batch=64)
    tracemalloc.start()
    try:
        explained = explainer.explain(row)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(explained.contributions[:, 0], row - rows[0], atol=1e-9)
    assert most < 64 * columns * 8 * 8
