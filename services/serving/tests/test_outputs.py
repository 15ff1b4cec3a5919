"""Models with several outputs are refused when they are loaded, with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.serving.tests.bundles import write_bundle
from serving.errors import ModelUnusableError
from serving.opening import open_folder
from serving.runtimes.base import RuntimeOptions

ROWS, LABELS = load_iris(return_X_y=True)
NUMBERS, VALUES = load_diabetes(return_X_y=True)


def refused(folder: Path, prefer: Any = "auto") -> str:
    with pytest.raises(ModelUnusableError) as caught:
        open_folder(folder, RuntimeOptions(prefer=prefer))
    return str(caught.value)


@pytest.mark.parametrize("onnx", [True, False])
@pytest.mark.parametrize("estimator", [LinearRegression(), RandomForestRegressor(3)])
def test_a_regression_of_several_numbers(tmp_path: Path, estimator: Any, onnx: bool) -> None:
    model = estimator.fit(NUMBERS, np.stack([VALUES, -VALUES], axis=1))
    write_bundle(tmp_path, "diabetes", estimator=model, onnx=onnx)
    reason = refused(tmp_path)
    assert "has shape (1, 2), but its MLmodel file says (1,)" in reason
    assert "several outputs, but only one can be served: register a model for each of them" in reason


def test_a_classifier_of_several_labels(tmp_path: Path) -> None:
    labels = np.stack([LABELS, 2 - LABELS], axis=1)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(ROWS, labels)
    write_bundle(tmp_path, estimator=model, onnx=False)
    assert "its Pipeline has several outputs, but only one can be served" in refused(tmp_path)


def test_a_classifier_that_may_give_several_classes_at_once(tmp_path: Path) -> None:
    several = np.stack([LABELS == 0, LABELS >= 1, ROWS[:, 0] > 5], axis=1).astype(int)
    model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, several)
    write_bundle(tmp_path, estimator=model, onnx=False)
    assert "do not add up to 1; if it may give a row several classes at once (multi-label)" in refused(tmp_path)
