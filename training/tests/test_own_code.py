"""Proves that a model's own code is trained and judged like any other, or refused with a reason."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from mlflow.models import Model

from training.bundle import Bundle, BundleWriter
from training.gate import Champion, judge
from training.model_folder import load_settings
from training.pipeline import prepare, train
from training.steps import Silent

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
    # The seed sets each `random_state` that the code leaves open.
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
        ("x = 1", "it has no function build(columns)"),
        ("def build(): ...", "build must take one argument"),
        ("def build(columns): return 3", "build() returns a int"),
        ("def build(columns):\n    return columns[9]", "line 2: IndexError"),
        ("def build(columns)\n", "line 1: SyntaxError"),
        ("import nothing_of_the_kind\n", "line 1: ModuleNotFoundError"),
        (STRANGE_CLASS, "build() uses Mine, but no installed package has it"),
        (STRANGE_FUNCTIONS, "build() uses build.<locals>.<lambda>, halved, but no installed package has it"),
        (RETURNS.format("linear_model", "Ridge()"), "returns a Ridge, which does not do classification"),
        (
            RETURNS.format("neighbors", "KNeighborsClassifier(algorithm='ball_tree')"),
            "sklearn.neighbors._ball_tree.BallTree",
        ),
    ],
)
def test_unusable_code_is_refused_with_names(code: str, words: str, training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", folder(tmp_path, code))
    assert outcome.code == 2
    assert words in outcome.err
    assert "pipeline.py: " in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("table")
def test_a_named_model_together_with_own_code_is_refused(training: Training, tmp_path: Path) -> None:
    outcome = training("run", "--model-dir", folder(tmp_path, GOOD, "model: random-forest\n"))
    assert outcome.code == 2
    assert "leave one of them out" in outcome.err


OWN_LABELS = {
    "a fixed threshold": "FixedThresholdClassifier(LogisticRegression(), threshold=0.9, pos_label='right')",
    "a tuned threshold": "TunedThresholdClassifierCV(LogisticRegression(), cv=3)",
    "a vector machine": "make_pipeline(StandardScaler(), SVC())",
    "a linear one": "LinearSVC()",
    "a ridge in a search": "GridSearchCV(make_pipeline(StandardScaler(), RidgeClassifier()), {}, cv=3)",
}


LABEL_CODE = """
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
def build(columns):
    return """


@pytest.fixture
def near(tmp_path: Path, blobs: pd.DataFrame) -> None:
    """Write a table whose classes overlap, so that a threshold changes the label of some rows."""
    mixed = blobs.assign(a=blobs["a"] * 0.35, b=blobs["b"] * 0.35, colour=["red", "blue", ""] * (len(blobs) // 3))
    mixed[["a", "b", "colour", "kind"]].to_csv(tmp_path / "own.csv", index=False)


@pytest.mark.slow
@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("name", OWN_LABELS)
def test_models_that_name_labels_themselves_pass_the_gate(name: str, tmp_path: Path) -> None:
    settings = load_settings({"data": str(tmp_path / "own.csv")}, Path(folder(tmp_path, LABEL_CODE + OWN_LABELS[name])))
    plan = prepare(settings, Silent())
    trained = train(plan, Silent())
    assert trained.labels == ("predicted" if "threshold" in name else "only")
    path = str(tmp_path / "bundle")
    BundleWriter(plan.pipeline, trained.twin, trained.baseline, plan.dataset, trained.labels).save_model(path, Model())
    bundle = Bundle(Path(path))
    assert (bundle.twin.scores(plan.split.test_rows) == trained.scores).all()
    report = judge(bundle, plan.split, settings.gate, Champion("the same", bundle))
    assert report.passed, [check.sentence() for check in report.failures]
    # The gate judges the predicted labels.
    other = msgspec.structs.replace(plan.split, test_truth=plan.split.test_truth[::-1])
    assert not judge(bundle, other, settings.gate, None).passed


@pytest.mark.slow
@pytest.mark.usefixtures("near")
def test_a_twin_that_names_other_labels_is_refused(tmp_path: Path) -> None:
    """skl2onnx does not vote as scikit-learn does if a member has no probabilities."""
    votes = "VotingClassifier([('a', LogisticRegression()), ('b', LinearSVC())])"
    settings = load_settings({"data": str(tmp_path / "own.csv")}, Path(folder(tmp_path, LABEL_CODE + votes)))
    plan = prepare(settings, Silent())
    trained = train(plan, Silent())
    path = str(tmp_path / "bundle")
    BundleWriter(plan.pipeline, trained.twin, trained.baseline, plan.dataset, trained.labels).save_model(path, Model())
    failed = {check.name for check in judge(Bundle(Path(path)), plan.split, settings.gate, None).failures}
    assert "parity of labels" in failed or "parity of labels on hard rows" in failed


@pytest.mark.usefixtures("near")
def test_labels_of_a_vector_machine_from_run_to_champion(training: Training, tmp_path: Path) -> None:
    model_dir = folder(tmp_path, LABEL_CODE + OWN_LABELS["a vector machine"])
    first = training("run", "--model-dir", model_dir, "--json")
    assert first.code == 0, first.err
    assert "log_loss" not in first.json["metrics"]
    assert training("promote", "own", "--to", "production").code == 0
    judged = training("evaluate", "own@candidate", "--model-dir", model_dir, "--json")
    assert judged.code == 0, judged.err
    assert judged.json["metrics"] == first.json["metrics"]
    (champion,) = (check for check in judged.json["gate"]["checks"] if check["name"] == "champion")
    assert champion["figure"] == first.json["metrics"]["f1_macro"]
    refused = training("run", "--model-dir", model_dir, "--threshold", "log_loss=1")
    assert refused.code == 2
    assert "no metric 'log_loss' for classification without probabilities" in refused.err
