"""Proves that rows are held out by time and by group, that weights count, and that parameters are searched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from training.data import load
from training.errors import BadInputError
from training.model_folder import load_settings
from training.settings import Settings, SplitSettings
from training.split import Split, split_dataset

Training = Callable[..., Any]
ROWS = 120


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    random = np.random.default_rng(5)
    kind = random.permutation(np.repeat(["left", "right"], ROWS // 2))
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=ROWS // 2).repeat(2).strftime("%Y-%m-%d"),
            "who": [f"p{number:02}" for number in random.integers(0, 20, ROWS)],
            "counts": np.where(kind == "left", 1.0, 0.0),
            "a": random.normal(size=ROWS) + np.where(kind == "left", 0, 4),
            "b": np.arange(ROWS) * 1.5,
            "kind": kind,
        }
    ).sample(frac=1, random_state=1)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return frame


def cut(tmp_path: Path, **settings: Any) -> Split:
    given = Settings(data=str(tmp_path / "rows.csv"), target="kind", **settings)
    dataset = load(given)
    assert not {"when"} & set(dataset.features) or given.split.time is None
    return split_dataset(dataset, seed=1, test_size=given.test_size, folds=given.cv, class_weights=given.class_weights)


def numbers(rows: np.ndarray) -> set[int]:
    """Return the numbers of these rows in the table, which their last column has."""
    return {round(float(value) / 1.5) for value in rows[:, -1]}


def test_the_last_rows_are_held_out_and_folds_go_forward(table: pd.DataFrame, tmp_path: Path) -> None:
    found = cut(tmp_path, split=SplitSettings(time="when"), cv=3)
    assert max(numbers(found.train_rows)) < min(numbers(found.test_rows))
    # No day has rows in both parts.
    assert len(found.test_rows) % 2 == 0
    for learnt, judged in found.folds:
        assert max(numbers(found.train_rows[learnt])) < min(numbers(found.train_rows[judged]))


def test_groups_stay_together_in_folds_too(table: pd.DataFrame, tmp_path: Path) -> None:
    found = cut(tmp_path, split=SplitSettings(group="who"), cv=3)
    who = table.assign(row=(table["b"] / 1.5).round().astype(int)).set_index("row")["who"]

    def groups(rows: np.ndarray) -> set[str]:
        return set(who[sorted(numbers(rows))])

    assert groups(found.train_rows).isdisjoint(groups(found.test_rows))
    assert len(found.folds) == 3
    for learnt, judged in found.folds:
        assert groups(found.train_rows[learnt]).isdisjoint(groups(found.train_rows[judged]))


def test_weights_and_class_weights_are_multiplied(table: pd.DataFrame, tmp_path: Path) -> None:
    found = cut(tmp_path, weights="counts", class_weights={"left": 3.0})
    assert found.train_weights is not None
    assert found.train_weights.mean() == pytest.approx(1)
    assert (found.train_weights[found.train_truth == "right"] == 0).all()
    assert cut(tmp_path).train_weights is None


def test_names_of_classes_and_columns_may_be_numbers(tmp_path: Path, blobs_of: Callable[..., pd.DataFrame]) -> None:
    blobs_of([0, 1]).rename(columns={"b": "2024"}).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "training.yaml").write_text(
        "data: rows.csv\nname: numbers\ntarget: kind\nclass_weights: {0: 1, 1: 3}\ncolumns: {2024: {drop: true}}\n"
    )
    settings = load_settings({}, tmp_path)
    assert settings.class_weights == {"0": 1, "1": 3}
    dataset = load(settings)
    assert dataset.features == ("a",)
    found = split_dataset(dataset, seed=1, test_size=0.25, class_weights=settings.class_weights)
    assert found.train_weights is not None
    assert found.train_weights.max() / found.train_weights.min() == pytest.approx(3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": SplitSettings(time="whn")}, "split.time: .* no column 'whn'. Did you mean \"when\""),
        ({"split": SplitSettings(time="who")}, "split.time: .*holds text, not times"),
        ({"split": SplitSettings(time="when", group="who")}, "leave one of them out"),
        ({"split": SplitSettings(group="kind")}, "split.group: 'kind' is the target"),
        ({"weights": "who"}, "weights: .*holds text, not numbers"),
        ({"class_weights": {"lft": 2.0}}, "class_weights: .* no class 'lft'; there are left, right"),
        ({"split": SplitSettings(group="counts")}, "too few"),
        ({"split": SplitSettings(group="counts"), "test_size": 0.75}, "2 groups are too few to hold out"),
    ],
)
@pytest.mark.usefixtures("table")
def test_errors_name_the_setting_that_does_not_fit(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=words):
        cut(tmp_path, **settings)


@pytest.mark.usefixtures("table")
def test_a_run_by_time_is_evaluated_on_the_same_rows(training: Training, tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(
        "data: rows.csv\ntarget: kind\nname: timed\nsplit: {time: when}\nweights: counts\nclass_weights: balanced\n"
        "columns: {who: {drop: true}}\ngate: {classes: warn, thresholds: {accuracy: 0.0}}\nmodel: extra-trees\n"
    )
    outcome = training("run", "--model-dir", str(tmp_path), "--json")
    assert outcome.json["metrics"]["recall/right"] == 0, "the model learned from rows of weight zero"
    params = MlflowClient().get_run(outcome.json["run_id"]).data.params
    assert (params["weights"], params["class_weights"]) == ("counts", "balanced")
    evaluated = training("evaluate", f"runs:/{outcome.json['run_id']}", "--json")
    assert evaluated.json["same_data"] is True
    assert evaluated.json["metrics"] == outcome.json["metrics"]


def test_weights_are_refused_for_estimators_without_them(training: Training, tmp_path: Path) -> None:
    code = "import sklearn.neighbors\ndef build(columns): return sklearn.neighbors.KNeighborsClassifier()\n"
    (tmp_path / "pipeline.py").write_text(code)
    (tmp_path / "training.yaml").write_text("data: iris\nname: own\nclass_weights: balanced\n")
    outcome = training("run", "--model-dir", str(tmp_path))
    assert outcome.code == 2
    assert "KNeighborsClassifier does not support weights of rows" in outcome.err


def test_folds_that_are_too_small_for_an_estimator_are_refused(training: Training, tmp_path: Path) -> None:
    code = "import sklearn.neighbors\ndef build(columns): return sklearn.neighbors.KNeighborsClassifier(100)\n"
    (tmp_path / "pipeline.py").write_text(code)
    (tmp_path / "training.yaml").write_text("data: iris\nname: own\n")
    outcome = training("run", "--model-dir", str(tmp_path), "--cv", "5")
    assert outcome.code == 2
    assert "pipeline.py takes all rows to learn from, but not those of a fold: Expected n_neighbors" in outcome.err


SEARCH = """
data: iris
name: searched
search:
  params:
    C: {low: 0.001, high: 10, log: true}
    solver: [lbfgs, liblinear]
  trials: 4
  metric: log_loss
"""


def test_a_search_takes_the_best_and_records_every_trial(training: Training, tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(SEARCH)
    outcome = training("run", "--model-dir", str(tmp_path), "--cv", "2", "--json")
    assert outcome.code == 0, outcome.err
    client = MlflowClient()
    run = client.get_run(outcome.json["run_id"])
    trials = client.search_runs(
        [run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'", order_by=["start_time"]
    )
    assert len(trials) == 4
    # liblinear supports only two classes.
    kept = [trial for trial in trials if trial.info.status == "FINISHED"]
    assert kept
    assert all("liblinear" in trial.data.params["model.solver"] for trial in trials if trial not in kept)
    best = min(kept, key=lambda trial: float(trial.data.metrics["cv_log_loss_mean"]))
    assert float(run.data.params["model.C"]) == float(best.data.params["model.C"])
    assert "accuracy" not in best.data.metrics, "the search used held-out rows"


@pytest.mark.parametrize(
    ("change", "cv", "words"),
    [
        (("C:", "CC:"), "2", "has no parameter 'CC'"),
        (("log_loss", "lg_loss"), "2", "search.metric: no metric 'lg_loss'"),
        (("trials", "trials"), "0", "set cv (--cv) to 2 or more"),
        (("[lbfgs, liblinear]", "[nothing]"), "2", "none of 4 trials could be fitted"),
        (("low: 0.001", "low: 20"), "2", "search.params[...]: low 20 is above high 10."),
        (("low: 0.001", "low: 0"), "2", "search.params[...]: low 0 has no logarithm; it has to be above 0."),
        (("[lbfgs, liblinear]", "[]"), "2", "search.params[...]: Expected `array` of length >= 1."),
    ],
)
def test_an_impossible_search_is_refused(
    change: tuple[str, str], cv: str, words: str, training: Training, tmp_path: Path
) -> None:
    (tmp_path / "training.yaml").write_text(SEARCH.replace(*change))
    outcome = training("run", "--model-dir", str(tmp_path), "--cv", cv)
    assert outcome.code == 2
    assert words in outcome.err
