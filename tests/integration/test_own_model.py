"""Models as people fit and log them: one command registers each, and serving answers as its `predict` does.

Also docs/bring-your-own-model.md, whose commands work unchanged except for ports and the files' folder.
"""

# ruff: noqa: PLC0415  (libraries of single cases load slowly, and workers that only collect tests do not need them)

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import joblib
import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
from mlflow import MlflowClient
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from embedded.processes import Server
from embedded.servers import serving as serving_server
from tests.integration.page import ROOT, Page
from training.cli import execute
from training.environment import prepare_environment

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::RuntimeWarning"),
]

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(120, 2))
CHURNED = np.where(ROWS[:, 0] + RNG.normal(size=120) * 0.6 > 0.9, "yes", "no")
VALUES = 3 * ROWS[:, 0] - ROWS[:, 1]
TABLE = pd.DataFrame(ROWS, columns=["spent", "age"])


@dataclass
class Case:
    """A fitted model, a table for it, and how it is stored."""

    model: Any
    table: pd.DataFrame
    target: np.ndarray
    given: Any = None
    stored: str = "cloudpickle"
    runtime: str = "onnx"

    @property
    def expected(self) -> np.ndarray:
        return np.asarray(self.model.predict(self.table if self.given is None else self.given)).reshape(-1)


def threshold() -> Case:
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="yes").fit(ROWS, CHURNED)
    return Case(model, TABLE, CHURNED, ROWS)


def tuned_threshold() -> Case:
    model = TunedThresholdClassifierCV(LogisticRegression(), scoring="balanced_accuracy").fit(TABLE, CHURNED == "yes")
    return Case(model, TABLE, CHURNED == "yes")


def by_name() -> Case:
    chosen = make_column_transformer((StandardScaler(), ["age"]), ("passthrough", ["spent"]))
    model = make_pipeline(chosen, LogisticRegression()).fit(TABLE, CHURNED)
    return Case(model, TABLE[["age", "spent"]], CHURNED, TABLE)


def gaps() -> Case:
    table = TABLE.copy()
    table.loc[::7, "spent"] = np.nan
    return Case(make_pipeline(SimpleImputer(), LogisticRegression()).fit(table, CHURNED), table, CHURNED)


def text() -> Case:
    table = pd.DataFrame({"city": RNG.choice(["Bonn", "Köln"], 120), "age": ROWS[:, 1]})
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    return Case(make_pipeline(encoded, LogisticRegression()).fit(table, CHURNED), table, CHURNED)


def gaps_in_text() -> Case:
    table = pd.DataFrame({"city": RNG.choice(["Bonn", "Köln"], 120), "hat": RNG.choice(["red", "blue"], 120)})
    table = table.mask(RNG.random((120, 2)) < 0.2).assign(age=ROWS[:, 1])
    likeliest = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    named = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    filled = make_column_transformer((likeliest, ["city"]), (named, ["hat"]), remainder="passthrough")
    return Case(make_pipeline(filled, LogisticRegression()).fit(table, CHURNED), table, CHURNED, stored="joblib")


def text_that_refuses() -> Case:
    table = pd.DataFrame({"city": RNG.choice(["Bonn", "Köln"], 120), "age": ROWS[:, 1]})
    encoded = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    return Case(make_pipeline(encoded, LogisticRegression()).fit(table, CHURNED), table, CHURNED, stored="skops")


def kinds() -> Case:
    flags = RNG.integers(0, 2, 120).astype(bool)
    table = pd.DataFrame({"n": RNG.integers(0, 9, 120), "flag": flags, "w": ROWS[:, 1]})
    return Case(RandomForestClassifier(10, random_state=0).fit(table, CHURNED), table, CHURNED, stored="joblib")


def logarithm() -> Case:
    rows = np.abs(ROWS) + 0.1
    model = make_pipeline(FunctionTransformer(np.log), LinearRegression()).fit(rows, VALUES)
    return Case(model, pd.DataFrame(rows, columns=["a", "b"]), VALUES, rows)


def search() -> Case:
    model = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(ROWS, CHURNED)
    return Case(model, TABLE, CHURNED, ROWS)


def voting() -> Case:
    members = [("a", LogisticRegression()), ("b", GaussianNB())]
    return Case(VotingClassifier(members, voting="soft").fit(ROWS, CHURNED), TABLE, CHURNED, ROWS)


def histogram_with_gaps() -> Case:
    rows = ROWS.copy()
    rows[::7, 0] = np.nan
    model = HistGradientBoostingClassifier(max_iter=20).fit(rows, CHURNED)
    return Case(model, pd.DataFrame(rows, columns=["spent", "age"]), CHURNED, rows)


def support_vectors() -> Case:
    return Case(make_pipeline(StandardScaler(), SVC()).fit(ROWS, CHURNED), TABLE, CHURNED, ROWS)


def without_probabilities() -> Case:
    return Case(RidgeClassifier().fit(TABLE, CHURNED), TABLE, CHURNED)


def no_onnx_form() -> Case:
    model = make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression()).fit(ROWS, CHURNED)
    return Case(model, TABLE, CHURNED, ROWS, runtime="sklearn")


def xgboost() -> Case:
    from xgboost import XGBClassifier

    return Case(XGBClassifier(n_estimators=5).fit(TABLE, CHURNED == "yes"), TABLE, CHURNED == "yes", stored="xgboost")


def lightgbm() -> Case:
    from lightgbm import LGBMClassifier

    return Case(LGBMClassifier(n_estimators=5, verbose=-1).fit(TABLE, CHURNED), TABLE, CHURNED, stored="lightgbm")


def catboost() -> Case:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False).fit(TABLE, CHURNED)
    return Case(model, TABLE, CHURNED, stored="catboost")


def graph() -> Case:
    return Case(make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, CHURNED), TABLE, CHURNED, ROWS, "onnx")


CASES: dict[str, Callable[[], Case]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        threshold, tuned_threshold, by_name, gaps, text, gaps_in_text, text_that_refuses, kinds, logarithm, search,
        voting, histogram_with_gaps, support_vectors, without_probabilities, no_onnx_form, xgboost, lightgbm,
        catboost, graph,
    )
}  # fmt: skip


def handed_over(name: str, case: Case, folder: Path) -> str:
    """Store a model as people do, and return the name for the command."""
    if case.stored == "joblib":
        joblib.dump(case.model, folder / f"{name}.joblib")
        return str(folder / f"{name}.joblib")
    if case.stored == "skops":
        skops.io.dump(case.model, folder / f"{name}.skops")
        return str(folder / f"{name}.skops")
    if case.stored == "onnx":
        made = to_onnx(case.model, ROWS[:1].astype(np.float32))
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString())
        return str(folder / f"{name}.onnx")
    # Without requirements, MLflow loads the model in a separate process to find them. One case is enough for that.
    told = {} if name == "threshold" else {"pip_requirements": ["scikit-learn"]}
    with mlflow.start_run():
        if case.stored == "cloudpickle":
            info = mlflow.sklearn.log_model(case.model, name=name, serialization_format="cloudpickle", **told)
        else:
            info = getattr(mlflow, case.stored).log_model(case.model, name=name, **told)
    return str(info.model_uri)


@dataclass
class Registered:
    """The cases, and one process that serves all of them."""

    cases: dict[str, Case]
    api: httpx.Client
    versions: dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own-models")


@pytest.fixture(scope="module")
def _uri(mlflow_proxied: Server) -> Iterator[None]:
    prepare_environment()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_proxied.url)
        mlflow.set_tracking_uri(mlflow_proxied.url)
        # MLflow keeps the experiment of an earlier test in this process, which this server does not have.
        mlflow.set_experiment(experiment_id="0")
        yield


@pytest.fixture(scope="module")
def registered(mlflow_proxied: Server, folder: Path, _uri: None) -> Iterator[Registered]:
    cases = {name: make() for name, make in CASES.items()}
    for name, case in cases.items():
        model = handed_over(name, case, folder)
        case.table.assign(churned=case.target).to_parquet(folder / f"{name}.parquet")
        data = ["--data", str(folder / f"{name}.parquet"), "--target", "churned"]
        assert execute(["register", model, *data, "--name", name, "--trust-pickle", "--latency-ms", "500"]) == 0, name
    first, *others = cases
    client = MlflowClient()
    settings = {
        "MLFLOW_TRACKING_URI": mlflow_proxied.url,
        "MODEL_NAME": first,
        "MODEL_STAGE": "candidate",
        "EXTRA_MODELS": json.dumps([{"name": name, "stage": "candidate"} for name in others]),
        "SKOPS_TRUSTED_TYPES": "numpy.cbrt",
        "TRIAL_MEMORY_BYTES": str(2**30),
    }
    versions = {name: client.get_model_version_by_alias(name, "candidate") for name in cases}
    server = serving_server(folder, settings)
    server.start()
    try:
        # The process loads the models one after the other.
        server.wait_ready(300)
        with httpx.Client(base_url=server.url, timeout=30) as api:
            yield Registered(cases, api, versions)
    finally:
        server.stop()


def asked(case: Case, described: dict[str, Any]) -> dict[str, Any]:
    """Return a request for all rows of a case, in the tensors of the model's metadata."""
    inputs, table = described["inputs"], case.table
    if "columns" in inputs[0].get("parameters", {}):
        rows = table[inputs[0]["parameters"]["columns"]].astype(object)
        data = rows.where(rows.notna(), None).to_numpy().reshape(-1).tolist()
        return {"inputs": [{**inputs[0], "parameters": {}, "shape": list(rows.shape), "data": data}]}
    tensors = []
    for each in inputs:
        values = table[each["name"]].astype(object)
        tensors.append(each | {"shape": [len(table), 1], "data": values.where(values.notna(), None).tolist()})
    return {"inputs": tensors}


@pytest.mark.parametrize("name", CASES)
def test_serving_answers_as_predict_does(registered: Registered, name: str) -> None:
    case, api = registered.cases[name], registered.api
    described = api.get(f"/v2/models/{name}").raise_for_status().json()
    response = api.post(f"/v2/models/{name}/infer", json=asked(case, described))
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    found, expected = outputs["prediction"]["data"], case.expected
    if expected.dtype.kind == "f":
        assert found == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)
    else:
        # XGBoost, for example, gives numbers for booleans.
        assert list(map(str, map(type(found[0]), expected.tolist()))) == list(map(str, found))
    assert registered.versions[name].tags["gate"] == "passed"
    assert described["platform"].startswith("onnxruntime" if case.runtime == "onnx" else "sklearn")


def test_a_model_without_probabilities_answers_without_them(registered: Registered) -> None:
    described = registered.api.get("/v2/models/support-vectors").json()
    assert [output["name"] for output in described["outputs"]] == ["prediction"]


def test_a_threshold_decides_and_the_probability_is_that_of_the_label(registered: Registered) -> None:
    """/predict uses the first model, which has a threshold."""
    case = registered.cases["threshold"]
    probabilities = case.model.predict_proba(ROWS)
    # Only rows whose label is not the likelier one show the threshold.
    rows = [row for row in range(len(ROWS)) if 0.2 < probabilities[row, 1] < 0.5]
    body = {"instances": ROWS[rows].tolist()}
    answers = registered.api.post("/predict", json=body).raise_for_status().json()["predictions"]
    assert {answer["prediction"] for answer in answers} == {"yes"}
    assert [answer["probability"] for answer in answers] == pytest.approx(probabilities[rows, 1].tolist(), abs=1e-4)


PAGE = Page("bring-your-own-model.md")


def test_the_page_leads_to_an_answer(mlflow_proxied: Server, folder: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow_proxied.url}
    (notebook,) = PAGE.blocks("python")
    subprocess.run([sys.executable, "-c", notebook], env=environment, cwd=ROOT, check=True, timeout=120)
    for beginning in ("training register", "training promote"):
        PAGE.run(beginning, environment)
    answer = PAGE.answer(folder, mlflow_proxied.url)
    assert (answer["prediction"], answer["model_version"]) == ("Gentoo", "v1.0.0")
