"""Proves that contributions equal those of the `shap` package, for numbers and for a table with text and gaps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelformat.background import background_of
from modelformat.shapley import Explainer
from training.contributions import mean_contributions
from training.model_folder import load_settings
from training.onnx_twin import Twin
from training.pipeline import Plan, Trained, prepare, train
from training.settings import Settings
from training.steps import Silent

ROOT = Path(__file__).parents[2]


def trained(settings: Settings) -> tuple[Plan, Trained, Twin]:
    plan = prepare(settings, Silent())
    found = train(plan, Silent())
    return plan, found, Twin(found.twin, found.labels)


def as_numbers(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """Return rows with positions instead of texts, because `shap` takes numbers only."""
    found = np.empty(rows.shape)
    for index, column in enumerate(plan.dataset.columns):
        known = ["", *column.categories]
        found[:, index] = [known.index(value) for value in rows[:, index]] if column.is_text else rows[:, index]
    return found


def as_rows(plan: Plan, numbers: np.ndarray) -> np.ndarray:
    found = numbers.astype(plan.dataset.rows.dtype)
    for index, column in enumerate(plan.dataset.columns):
        if column.is_text:
            known = ["", *column.categories]
            found[:, index] = [known[int(place)] for place in numbers[:, index]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris", "penguins"])
def test_contributions_equal_those_of_shap(name: str) -> None:
    # Its import takes seconds, which workers that only collect tests should not spend.
    shap = pytest.importorskip("shap", exc_type=ImportError)
    plan, found, twin = trained(load_settings({}, ROOT / "models" / name))
    columns, rows = plan.dataset.columns, plan.split.test_rows[:6]
    background = background_of(found.baseline.features, [column.kind for column in columns]).astype(rows.dtype)
    exact = Explainer(twin.scores, background, len(background) << len(columns))
    drawn = Explainer(twin.scores, background, (len(background) << len(columns)) - 1)
    assert (exact.exact, drawn.exact) == (True, False)

    masker = shap.maskers.Independent(as_numbers(plan, background), max_samples=len(background))
    theirs = shap.explainers.Exact(lambda numbers: twin.scores(as_rows(plan, numbers)), masker)(as_numbers(plan, rows))
    for row, values, base in zip(rows, theirs.values, np.atleast_2d(theirs.base_values), strict=False):
        explained, near = exact.explain(row), drawn.explain(row)
        np.testing.assert_allclose(explained.contributions, values, atol=1e-6)
        np.testing.assert_allclose(explained.base, base, atol=1e-6)
        assert (np.abs(near.contributions - values).max(axis=0) < 5 * near.error + 1e-6).all()


def test_means_are_of_the_answered_label() -> None:
    plan, found, twin = trained(load_settings({}, ROOT / "models" / "iris"))
    rows = plan.split.test_rows
    means: dict[str, float] = dict(
        mean_contributions(twin, plan.dataset.columns, plan.dataset.classes, found.baseline, rows)
    )
    background = background_of(found.baseline.features, ["number"] * 4, 16)
    explainer = Explainer(twin.scores, background, 16 << 4)
    by_hand: Any = np.mean(
        [np.abs(explainer.explain(row).contributions[:, twin.scores(row[None])[0].argmax()]) for row in rows], axis=0
    )
    assert [means[column.name] for column in plan.dataset.columns] == pytest.approx(by_hand.tolist())
