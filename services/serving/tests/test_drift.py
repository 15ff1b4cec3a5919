"""Drift against a baseline: indices follow their formula, the window slides, and only real drift raises them."""

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_iris

from modelformat.baseline import Baseline
from modelformat.digest import content_digest
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, until_ready
from serving.baseline import read_baseline
from serving.drift import MOST_FEATURES, Drift, drift_metrics, psi
from serving.signature import read_spec

IRIS = load_iris()


def shares(values: Any, edges: list[float]) -> list[float]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return [float(count) / len(values) for count in counts]


def of_iris() -> dict[str, Any]:
    features = []
    for name, values in zip(COLUMNS, IRIS.data.astype(np.float32).T, strict=True):
        edges = np.quantile(values, [1 / 3, 2 / 3]).astype(np.float32).tolist()
        features.append({"name": name, "edges": edges, "shares": shares(values, edges)})
    prediction = {"rows": 150, "shares": [1 / 3] * 3, "classes": CLASSES}
    return {"version": 1, "rows": 150, "features": features, "prediction": prediction}


def regression(columns: int = 1) -> dict[str, Any]:
    feature = {"edges": [0.0], "shares": [0.5, 0.5]}
    return {
        "version": 1,
        "rows": 100,
        "features": [{"name": f"c{index}", **feature} for index in range(columns)],
        "prediction": {"rows": 100, **feature},
    }


def drift_of(baseline: dict[str, Any], seconds: float = 120.0, clock: Any = lambda: 0.0) -> Drift:
    return Drift(msgspec.convert(baseline, Baseline), seconds, clock)


def exported(drift: Drift) -> dict[str, float]:
    return {
        sample.name + "".join(value for label, value in sample.labels.items() if label != "model_name"): sample.value
        for family in drift_metrics({"m": drift})
        for sample in family.samples
    }


def test_the_index_follows_its_formula() -> None:
    expected, counts = np.array([0.25, 0.75]), np.array([30, 10])
    found = (counts + 0.5) / 41
    by_hand = sum((q - p) * np.log(q / p) for p, q in zip(expected, found, strict=True))
    assert psi(expected, counts) == pytest.approx(by_hand)
    assert psi(expected, np.array([10_000_000, 30_000_000])) == pytest.approx(0, abs=1e-6)


@given(arrays(np.float32, st.tuples(st.integers(1, 50), st.just(4)), elements=st.floats(0, 8, width=32)))
def test_rows_are_counted_in_their_bins(rows: Any) -> None:
    baseline = of_iris()
    drift = drift_of(baseline)
    for part in np.array_split(rows, 3):
        drift.add(part, np.tile(np.array([[0.1, 0.7, 0.2]], dtype=np.float32), (len(part), 1)))
    found = exported(drift)
    assert found["serving_drift_window_rows"] == len(rows)
    for index, feature in enumerate(baseline["features"]):
        expected = (np.array(feature["shares"]) * 150 + 0.5) / 151.5
        counts = np.array(shares(rows[:, index], feature["edges"])) * len(rows)
        assert found["serving_input_psi" + feature["name"]] == pytest.approx(psi(expected, counts.round()))
    assert found["serving_prediction_probability_count"] == len(rows)
    assert found["serving_prediction_probability_bucket0.7"] == len(rows)
    assert found["serving_prediction_probability_bucket0.6"] == 0
    expected_psi = psi((np.array([50.0] * 3) + 0.5) / 151.5, np.array([0, len(rows), 0]))
    assert found["serving_prediction_psi"] == pytest.approx(expected_psi)


def test_the_window_slides() -> None:
    now = [1000.0]
    drift = drift_of(regression(), 120.0, lambda: now[0])
    drift.add(np.ones((10, 1), np.float32), np.ones(10, np.float32))
    now[0] += 60
    drift.add(np.ones((5, 1), np.float32), np.ones(5, np.float32))
    assert exported(drift)["serving_drift_window_rows"] == 15
    now[0] += 65
    assert exported(drift)["serving_drift_window_rows"] == 5
    now[0] += 1e6
    assert exported(drift) == {"serving_drift_window_rows": 0}


def test_values_beyond_every_edge_and_bins_without_rows_have_finite_indices() -> None:
    drift = drift_of(regression())
    drift.add(np.full((1000, 1), 1e30, np.float32), np.full(1000, -1e30))
    found = exported(drift)
    assert 1 < found["serving_input_psic0"] < 10
    assert 1 < found["serving_prediction_psi"] < 10
    assert "serving_prediction_probability_count" not in found


def test_of_many_columns_or_rows_only_some_are_measured() -> None:
    drift = drift_of(regression(MOST_FEATURES + 5))
    drift.add(np.ones((10_000, MOST_FEATURES + 5), np.float32), np.ones(10_000, np.float32))
    found = exported(drift)
    assert len([name for name in found if name.startswith("serving_input_psi")]) == MOST_FEATURES
    assert found["serving_drift_window_rows"] == pytest.approx(10_000, rel=0.01)


def test_a_sample_of_a_batch_gives_nearly_the_same_as_all_of_it() -> None:
    rng = np.random.default_rng(7)
    whole, parts = drift_of(of_iris()), drift_of(of_iris())
    for _ in range(20):
        rows = rng.normal((5.8, 3.0, 3.7, 1.2), (0.8, 0.4, 1.7, 0.7), (1000, 4)).astype(np.float32)
        answers = rng.dirichlet((1, 1, 1), 1000).astype(np.float32)
        parts.add(rows, answers)
        for few in zip(np.array_split(rows, 10), np.array_split(answers, 10), strict=True):
            whole.add(*few)
    found, expected = exported(parts), exported(whole)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=0.1, abs=0.05), name


def broken(change: dict[str, Any]) -> dict[str, Any]:
    baseline = of_iris()
    baseline.update(change.pop("top", {}))
    baseline["features"][1].update(change.pop("feature", {}))
    baseline["prediction"].update(change.pop("prediction", {}))
    return baseline


@pytest.mark.parametrize(
    "change",
    [
        {"top": {"version": 3}},
        {"top": {"rows": 0}},
        {"top": {"features": []}},
        {"feature": {"name": "other"}},
        {"feature": {"edges": [2.0, 1.0]}},
        {"feature": {"edges": [1.0]}},
        {"feature": {"shares": [0.5, 0.5, 0.5]}},
        {"feature": {"shares": [1.5, -0.5, 0.0]}},
        {"prediction": {"classes": ["a", "b", "c"]}},
        {"prediction": {"classes": None}},
        {"prediction": {"shares": [0.5, 0.5]}},
    ],
)
def test_a_baseline_that_cannot_be_right_is_ignored_with_a_warning(
    iris: Bundle, tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    spec = read_spec(iris.folder)
    file = tmp_path / "baseline.json"
    top = change.get("top", {})
    file.write_text(json.dumps(of_iris() | top if "features" in top else broken(change)))
    with caplog.at_level(logging.WARNING):
        assert read_baseline(tmp_path, spec) is None
    assert "drift is not measured" in caplog.text
    file.write_bytes(b"\xff{")
    assert read_baseline(tmp_path, spec) is None
    file.write_text(json.dumps(of_iris()))
    assert read_baseline(tmp_path, spec) is not None


def metrics(api: httpx.Client) -> dict[str, dict[str, float]]:
    families = text_string_to_metric_families(api.get("/metrics").text)
    drift = ("serving_input_psi", "serving_prediction_psi", "serving_drift", "serving_prediction_probability")
    return {
        family.name: {sample.labels.get("feature", sample.name): sample.value for sample in family.samples}
        for family in families
        if family.name.startswith(drift)
    }


@pytest.fixture
def watched(tmp_path: Path) -> Bundle:
    write_bundle(tmp_path)
    (tmp_path / "baseline.json").write_text(json.dumps(of_iris()))
    return Bundle(tmp_path, content_digest(tmp_path))


def test_drift_shows_and_rows_of_training_show_none(serve: Serve, watched: Bundle) -> None:
    api = serve(watched.pin())
    until_ready(api)
    assert metrics(api)["serving_drift_window_rows"] == {"serving_drift_window_rows": 0}
    api.post("/predict", json={"instances": IRIS.data.tolist()})
    api.post("/predict", json={"features": SETOSA})
    api.post("/predict", json={"features": []})
    found = metrics(api)
    assert found["serving_drift_window_rows"] == {"serving_drift_window_rows": 151}
    assert sorted(found["serving_input_psi"]) == sorted(COLUMNS)
    assert max(found["serving_input_psi"].values()) < 0.02
    assert found["serving_prediction_psi"]["serving_prediction_psi"] < 0.02
    assert found["serving_prediction_probability"]["serving_prediction_probability_count"] == 151
    api.post("/predict", json={"instances": [[*row[:3], 9.0] for row in IRIS.data.tolist() * 5]})
    found = metrics(api)
    assert found["serving_input_psi"]["petal width (cm)"] > 0.5
    assert found["serving_input_psi"]["petal length (cm)"] < 0.05
    assert found["serving_prediction_psi"]["serving_prediction_psi"] > 0.1


def test_without_a_baseline_or_a_window_there_are_no_metrics(serve: Serve, iris: Bundle, watched: Bundle) -> None:
    for settings in (iris.pin(), watched.pin(DRIFT_WINDOW_SECONDS="0")):
        api = serve(settings)
        until_ready(api)
        api.post("/predict", json={"features": SETOSA})
        assert metrics(api) == {}


def test_the_pin_has_a_metric_whether_it_is_loaded_or_not(serve: Serve, iris: Bundle) -> None:
    wrong = "sha256:" + "0" * 64
    for digest in (iris.digest, wrong):
        text = serve(iris.pin(MODEL_DIGEST=digest)).get("/metrics").text
        assert f'serving_pinned_model_info{{digest="{digest}",name="iris-classifier",version="7"}} 1.0' in text
    assert "serving_pinned_model_info{" not in serve({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}).get("/metrics").text
