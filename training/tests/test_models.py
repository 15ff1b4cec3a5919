"""Proves that every model trains, has the same answers in all formats, and the same bytes each time."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from training import metrics, models
from training.boosters import learnt_truth, loaded, predicted_labels
from training.data import load_dataset
from training.errors import BadInputError
from training.kinds import Column
from training.onnx_twin import Twin, to_onnx
from training.reproducible import normalise_skops
from training.settings import Scalar, Task

FAST = {
    "random-forest": {"n_estimators": 10},
    "extra-trees": {"n_estimators": 10},
    "hist-gradient-boosting": {"max_iter": 10},
    "quantile-boosting": {"max_iter": 10},
    "lightgbm": {"n_estimators": 10},
    "xgboost": {"n_estimators": 10},
    "catboost": {"iterations": 10},
}
CLASSIFIERS = [name for name, spec in models.MODELS.items() if "classification" in spec.estimators]
REGRESSORS = [name for name, spec in models.MODELS.items() if "regression" in spec.estimators]


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c"), (3, -7), (2, 4, 9), (False, True)], ids=str)
def test_classifiers_and_their_twins_agree(
    model: str, labels: tuple[object, ...], blobs_of: Callable[..., pd.DataFrame]
) -> None:
    table = blobs_of(labels)
    rows = table[["a", "b"]].to_numpy().astype(np.float32).astype(np.float64)
    pipeline = models.build(model, "classification", FAST.get(model, {}), seed=1)
    classes = np.unique(table["kind"].to_numpy())
    models.fit(pipeline, rows, learnt_truth(pipeline, table["kind"].to_numpy(), classes.tolist()))
    content = to_onnx(pipeline, [Column("a"), Column("b")], classifier=True)
    scores = Twin(content).scores(rows)
    assert scores.shape == (len(rows), len(labels))
    assert np.abs(scores - pipeline.predict_proba(rows)).max() < 1e-5
    assert (classes[scores.argmax(axis=1)] == predicted_labels(pipeline, rows, classes)).all()
    graph = onnx.load_from_string(content).graph
    assert [entry.name for entry in graph.input] == ["features"]
    assert [entry.name for entry in graph.output] == ["probabilities"]


@pytest.mark.parametrize("kind", ["xgboost.XGBRFClassifier", "xgboost.XGBRFRegressor"])
def test_special_boosters_of_own_code_and_their_twins_agree(kind: str, blobs_of: Callable[..., pd.DataFrame]) -> None:
    table = blobs_of((0, 1))
    rows = table[["a", "b"]].to_numpy().astype(np.float32).astype(np.float64)
    pipeline = make_pipeline(loaded(kind)(n_estimators=5)).fit(rows, table["kind"].to_numpy())
    classifier = kind.endswith("Classifier")
    scores = Twin(to_onnx(pipeline, [Column("a"), Column("b")], classifier=classifier)).scores(rows)
    expected = pipeline.predict_proba(rows) if classifier else pipeline.predict(rows).reshape(-1, 1)
    assert np.abs(scores - expected).max() < 1e-5


@pytest.mark.parametrize("model", REGRESSORS)
def test_regressors_and_their_twins_agree(model: str) -> None:
    dataset = load_dataset("diabetes")
    pipeline = models.build(model, "regression", FAST.get(model, {}), seed=1)
    models.fit(pipeline, dataset.rows, dataset.truth)
    content = to_onnx(pipeline, dataset.columns, classifier=False)
    scores = Twin(content).scores(dataset.rows)
    assert scores.shape == (len(dataset.rows), 1)
    assert np.abs(scores[:, 0] - pipeline.predict(dataset.rows)).max() < 1e-3
    assert [entry.name for entry in onnx.load_from_string(content).graph.output] == ["prediction"]


@pytest.mark.slow
@hypothesis.settings(max_examples=8)
@given(low=st.floats(0.5, 1e6, width=32), seed=st.integers(0, 99))
def test_thresholds_between_float32_neighbours_split_alike(low: float, seed: int) -> None:
    high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    rows = np.random.default_rng(seed).permutation(np.repeat([low, high], 30)).reshape(-1, 1)
    for model in ("hist-gradient-boosting", "random-forest", "lightgbm", "xgboost", "catboost"):
        pipeline = models.build(model, "regression", FAST[model], seed=1)
        models.fit(pipeline, rows, np.where(rows[:, 0] > low, 10.0, 0.0))
        scores = Twin(to_onnx(pipeline, [Column("x")], classifier=False)).scores(rows)
        assert np.abs(scores[:, 0] - pipeline.predict(rows)).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_training_twice_gives_the_same_bytes(model: str, tmp_path: Path) -> None:
    dataset = load_dataset("iris")
    digests = []
    for attempt in ("first", "second"):
        pipeline = models.build(model, "classification", FAST.get(model, {}), seed=5)
        models.fit(pipeline, dataset.rows, learnt_truth(pipeline, dataset.truth, dataset.classes))
        path = tmp_path / attempt
        skops.io.dump(pipeline, path)
        normalise_skops(path)
        content = to_onnx(pipeline, dataset.columns, classifier=True)
        digests.append([hashlib.sha256(saved).hexdigest() for saved in (path.read_bytes(), content)])
        loaded = skops.io.load(path, trusted=models.TRUSTED_TYPES)
        assert (loaded.predict_proba(dataset.rows) == pipeline.predict_proba(dataset.rows)).all()
    # CatBoost writes the time of training and a random name into its model.
    same = slice(1, None) if model == "catboost" else slice(None)
    assert digests[0][same] == digests[1][same]


def test_every_model_is_named_where_people_look() -> None:
    part = Path(__file__).parents[1]
    readme = (part / "README.md").read_text(encoding="utf-8")
    options = re.findall(r"[\w-]+", (part / "src/training/options.py").read_text(encoding="utf-8"))
    assert [name for name in models.MODELS if f"`{name}`" not in readme] == []
    assert sorted(set(models.MODELS) - set(options)) == []


@pytest.mark.parametrize(
    ("model", "task", "params", "says"),
    [
        ("forest", "classification", {}, "'forest' is not known; for classification there is"),
        ("random-forst", "classification", {}, 'Did you mean "random-forest"?'),
        ("ridge", "classification", {}, "'ridge' does regression"),
        ("ridge", "regression", {"alfa": 1}, "no parameter 'alfa'. Did you mean \"alpha\"?"),
        ("ridge", "regression", {"random_state": 1}, "set by --seed"),
    ],
)
def test_wrong_models_are_refused(model: str, task: Task, params: dict[str, int], says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        models.build(model, task, params, seed=1)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", [-1.0, "much", None])
def test_parameters_that_the_estimator_refuses_are_named(value: Scalar) -> None:
    dataset = load_dataset("iris")
    pipeline = models.build("logistic-regression", "classification", {"C": value}, seed=1)
    with pytest.raises(BadInputError, match=r"LogisticRegression cannot be fitted: .*'C'"):
        models.fit(pipeline, dataset.rows, dataset.truth)


def test_a_quantile_that_is_no_number_is_refused() -> None:
    dataset = load_dataset("diabetes")
    pipeline = models.build("quantile", "regression", {"quantile": "most"}, seed=1)
    assert models.quantile_of(pipeline) is None
    with pytest.raises(BadInputError, match=r"QuantileRegressor cannot be fitted: .*'quantile'"):
        models.fit(pipeline, dataset.rows, dataset.truth)


@pytest.mark.parametrize(("model", "params"), [("lightgbm", {"num_leaves": 1}), ("catboost", {"depth": 99})])
def test_errors_of_other_packages_are_refusals_too(model: str, params: dict[str, Scalar]) -> None:
    dataset = load_dataset("iris")
    pipeline = models.build(model, "classification", params, seed=1)
    with pytest.raises(BadInputError, match=r"Classifier cannot be fitted: "):
        models.fit(pipeline, dataset.rows, learnt_truth(pipeline, dataset.truth, dataset.classes))


def test_a_solver_that_gives_up_is_noted() -> None:
    dataset = load_dataset("iris")
    pipeline = models.build("logistic-regression", "classification", {"max_iter": 1}, seed=1)
    assert any("converge" in note for note in models.fit(pipeline, dataset.rows, dataset.truth))


def test_metrics_of_known_predictions() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    found = metrics.measure(scores, np.array(["n", "p", "p", "p"]), ("n", "p"))
    assert list(found) == metrics.metric_names(("n", "p"))
    assert found["accuracy"] == 0.75
    assert found["recall/p"] == pytest.approx(2 / 3)
    assert found["precision/n"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.8]).mean())
    assert found["brier"] == pytest.approx(2 * np.mean([0.01, 0.36, 0.09, 0.04]))


def test_metrics_of_known_values() -> None:
    found = metrics.measure(np.array([[1.0], [2.0], [6.0]]), np.array([1.0, 2.0, 3.0]), ())
    assert found == pytest.approx({"rmse": np.sqrt(3), "mae": 1.0, "r2": -3.5})


@given(st.lists(st.text(max_size=120), min_size=2, max_size=5, unique=True))
def test_class_keys_are_distinct_and_allowed(labels: list[str]) -> None:
    keys = metrics.class_keys(labels)
    assert len(set(keys)) == len(labels)
    for key in keys:
        assert re.fullmatch(r"[A-Za-z0-9_.\- ]{1,110}", key)


@pytest.mark.parametrize("model", ["quantile", "quantile-boosting"])
def test_a_quantile_is_judged_as_one(model: str, training: Callable[..., Any]) -> None:
    arguments = ["--data", "diabetes", "--model", model, "--param", "quantile=0.9", "--threshold", "pinball=20"]
    outcome = training("run", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    figures = outcome.json["metrics"]
    assert 0.75 < figures["coverage"] < 1
    checks = {check["name"]: check for check in outcome.json["gate"]["checks"]}
    assert "r2" not in checks
    assert checks["baseline"]["detail"] == "pinball of a constant guess"
    evaluated = training("evaluate", f"{outcome.json['name']}@candidate", "--json")
    assert evaluated.json["metrics"] == figures


@pytest.mark.parametrize("model", ["lightgbm", "xgboost", "catboost"])
def test_boosters_pass_the_gate_and_name_labels(
    model: str, training: Callable[..., Any], blobs_of: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    table = blobs_of(["b", "a", "c"]).assign(colour=["red", "", "blue"] * 30)[["a", "b", "colour", "kind"]]
    table.to_csv(tmp_path / "blobs.csv", index=False)
    data = ["--data", "blobs.csv", "--target", "kind", "--model", model]
    outcome = training("run", *data, "--cv", "2", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["metrics"]["recall/a"] > 0.9
    assert training("evaluate", "blobs@candidate", "--json").json["metrics"] == outcome.json["metrics"]


def test_a_metric_of_quantiles_is_refused_elsewhere(training: Callable[..., Any]) -> None:
    outcome = training("run", "--data", "diabetes", "--threshold", "pinball=20")
    assert outcome.code == 2
    assert "no metric 'pinball' for regression" in outcome.err
