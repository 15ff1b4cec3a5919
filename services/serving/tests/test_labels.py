"""Models that name the class themselves: by a threshold on their probabilities, or without probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import yaml
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier

from serving.errors import ModelUnusableError
from serving.labels import from_places
from serving.opening import Opened, open_folder
from serving.runtimes.base import RuntimeOptions
from serving.writing import predictions_of

ROWS = np.random.default_rng(0).normal(size=(80, 2))
LABELS = np.where(ROWS[:, 0] > 0.5, "yes", "no")


def opened(folder: Path, model: Any, labels: str) -> Opened:
    skops.io.dump(model, folder / "model.skops")
    mlmodel = {
        "flavors": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "metadata": {"task": "classification", "classes": ["no", "yes"], "target": "y", "labels": labels},
        "signature": {"inputs": '[{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]'},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    return open_folder(folder, RuntimeOptions())


def test_a_threshold_decides_and_the_probability_is_that_of_the_label(tmp_path: Path) -> None:
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.1, pos_label="yes").fit(ROWS, LABELS)
    version = opened(tmp_path, model, "predicted")
    answers = predictions_of(version.runtime.run(ROWS), version.spec)
    assert [answer.prediction for answer in answers] == model.predict(ROWS).tolist()
    probabilities = model.predict_proba(ROWS)
    places = [["no", "yes"].index(str(answer.prediction)) for answer in answers]
    told = probabilities[range(len(ROWS)), places].tolist()
    assert [answer.probability for answer in answers] == pytest.approx(told, abs=1e-6)
    assert any(answer.probability is not None and answer.probability < 0.5 for answer in answers)


def test_a_model_without_probabilities_answers_with_labels_only(tmp_path: Path) -> None:
    model = RidgeClassifier().fit(ROWS, LABELS)
    version = opened(tmp_path, model, "only")
    answers = predictions_of(version.runtime.run(ROWS), version.spec)
    assert [answer.prediction for answer in answers] == model.predict(ROWS).tolist()
    assert {answer.probability for answer in answers} == {None}


def test_an_index_that_is_not_a_class_has_no_answer() -> None:
    found = from_places(np.array([-1, 0, 1, 2]), 2)
    np.testing.assert_array_equal(found, [[np.nan, np.nan], [1, 0], [0, 1], [np.nan, np.nan]])


def test_a_model_without_probabilities_has_to_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match="no predict_proba"):
        opened(tmp_path, RidgeClassifier().fit(ROWS, LABELS), "largest")
