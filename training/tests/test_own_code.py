"""Proves that a model's own code is trained and judged like any other, and refused by name where it cannot be."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Training = Callable[..., Any]
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
(GOOD,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
STRANGE_CLASS = """
from sklearn.base import BaseEstimator, ClassifierMixin

class Mine(ClassifierMixin, BaseEstimator):
    def fit(self, x, y): ...

def build(columns):
    return Mine()
"""
STRANGE_FUNCTIONS = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer as Function

def halved(x): return x / 2

def build(columns):
    return make_pipeline(Function(halved), Function(lambda x: x), LogisticRegression())
"""
RETURNS = "import sklearn.{0}\ndef build(columns): return sklearn.{0}.{1}\n"


def folder(tmp_path: Path, code: str, more: str = "") -> str:
    path = tmp_path / "models" / "own"
    path.mkdir(parents=True)
    (path / "training.yaml").write_text(f"data: own.csv\ntarget: kind\nname: own\n{more}")
    (path / "pipeline.py").write_text(code)
    return str(path)


@pytest.fixture
def table(tmp_path: Path, blobs: pd.DataFrame) -> pd.DataFrame:
    (tmp_path / "models").mkdir(exist_ok=True)
    mixed = blobs.assign(colour=["red", "blue", ""] * (len(blobs) // 3))[["a", "b", "colour", "kind"]]
    mixed.to_csv(tmp_path / "own.csv", index=False)
    return mixed


@pytest.mark.usefixtures("table")
def test_own_code_is_trained_and_registered(training: Training, tmp_path: Path) -> None:
    model_dir = folder(tmp_path, GOOD, "params: {forest__n_estimators: 12}\n")
    first = training("run", "--model-dir", model_dir, "--json")
    assert first.code == 0, first.err
    assert first.json["model"] == "pipeline.py"
    # `random_state` is seeded where the code leaves it open.
    assert training("run", "--model-dir", model_dir, "--json").json["metrics"] == first.json["metrics"]
    assert training("evaluate", "own@candidate", "--model-dir", model_dir).code == 0


@pytest.mark.usefixtures("table")
def test_another_model_by_name_leaves_own_code_out(training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", folder(tmp_path, "broken("), "--model", "random-forest", "--json")
    assert (outcome.code, outcome.json["model"]) == (0, "random-forest")


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1", "there is no function build(columns)"),
        ("def build(): ...", "build has to take one argument"),
        ("def build(columns): return 3", "build() returns a int"),
        ("def build(columns):\n    return columns[9]", "line 2: IndexError"),
        ("def build(columns)\n", "line 1: SyntaxError"),
        ("import nothing_of_the_kind\n", "line 1: ModuleNotFoundError"),
        (STRANGE_CLASS, "build() uses Mine, which no installed package has"),
        (STRANGE_FUNCTIONS, "build() uses build.<locals>.<lambda>, halved, which no installed package has"),
        (RETURNS.format("linear_model", "Ridge()"), "returns a Ridge, which does no classification"),
        (RETURNS.format("svm", "LinearSVC()"), "returns a LinearSVC, which gives no probabilities"),
        (
            RETURNS.format("neighbors", "KNeighborsClassifier(algorithm='ball_tree')"),
            "sklearn.neighbors._ball_tree.BallTree",
        ),
    ],
)
def test_what_cannot_be_used_is_told_by_name(code: str, words: str, training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", folder(tmp_path, code))
    assert outcome.code == 2
    assert words in outcome.err
    assert "pipeline.py: " in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("table")
def test_a_named_model_beside_own_code_is_refused(training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", folder(tmp_path, GOOD, "model: random-forest\n"))
    assert outcome.code == 2
    assert "leave out one of them" in outcome.err


@pytest.mark.usefixtures("table")
def test_labels_by_a_threshold_are_no_silent_change(training: Training, tmp_path: Path) -> None:
    code = (
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.model_selection import FixedThresholdClassifier\n"
        "def build(columns):\n"
        "    return FixedThresholdClassifier(LogisticRegression(), threshold=0.9999999)\n"
    )
    outcome = training("run", "--model-dir", folder(tmp_path, code))
    assert outcome.code == 2
    assert "another rule than the largest probability" in outcome.err or "has no ONNX form" in outcome.err
