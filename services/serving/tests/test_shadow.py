"""The shadow: it is counted exactly, reported where people look, and never delays an answer."""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from modelformat.digest import content_digest
from services.serving.tests import mixed
from services.serving.tests.bundles import CLASSES, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, running, until_ready, wait_for
from services.serving.tests.mixed import ROW, write_mixed
from serving.drift import psi, smoothed
from serving.shadow.sampling import MOST_ROWS

IRIS = load_iris()
ROWS = IRIS.data.tolist()
Counts = dict[tuple[str, ...], float]


def shadow_of(bundle: Bundle, **more: str) -> dict[str, str]:
    pin = {"SHADOW_VERSION": "8", "SHADOW_URI": bundle.folder.as_uri(), "SHADOW_DIGEST": bundle.digest}
    return {**pin, "SHADOW_SAMPLE": "1", "RETRY_MIN_SECONDS": "0.05", "RETRY_MAX_SECONDS": "0.05", **more}


@contextmanager
def shadowed(main: Bundle, shadow: Bundle, **more: str) -> Iterator[httpx.Client]:
    with running({**main.pin(), **shadow_of(shadow, **more)}) as api:
        until_shadow(api, "ready")
        yield api


def until_shadow(api: httpx.Client, status: str) -> Any:
    wait_for(lambda: api.get("/health").json()["shadow"]["status"] == status)
    return api.get("/health").json()["shadow"]


def metric(api: httpx.Client, name: str, *labels: str) -> Counts:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(api.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def rows_of(api: httpx.Client) -> dict[str, float]:
    return {labels[0]: count for labels, count in metric(api, "serving_shadow_rows_total", "outcome").items()}


def until_counted(api: httpx.Client, rows: int) -> dict[str, float]:
    wait_for(lambda: sum(rows_of(api).values()) >= rows)
    return rows_of(api)


def made(folder: Path, estimator: Any = None, **more: Any) -> Bundle:
    return Bundle(folder, write_bundle(folder, estimator=estimator, **more))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Bundle]:
    """Return a model that answers some rows differently, and its estimator."""
    tree = DecisionTreeClassifier(max_depth=1, random_state=1).fit(IRIS.data, [CLASSES[at] for at in IRIS.target])
    return tree, made(tmp_path_factory.mktemp("other"), tree, saved_as="")


@pytest.fixture(scope="module")
def agreeing(iris: Bundle) -> Iterator[httpx.Client]:
    """Serve the model as its own shadow."""
    with shadowed(iris, iris) as api:
        yield api


def test_a_shadow_that_agrees_is_counted_by_every_protocol(agreeing: httpx.Client) -> None:
    before = rows_of(agreeing)
    assert set(before) == {"agreed", "differed", "failed", "dropped"}
    tensor = {"name": "features", "shape": [150, 4], "datatype": "FP64", "data": ROWS}
    bodies: dict[str, list[Any]] = {
        "/predict": [{"features": SETOSA}, {"instances": ROWS}],
        "/v2/models/iris-classifier/infer": [{"inputs": [tensor]}],
        "/invocations": [{"inputs": ROWS}],
    }
    for path, sent in bodies.items():
        for body in sent:
            assert agreeing.post(path, json=body).status_code == 200
    # A refused request has no answer to compare.
    assert agreeing.post("/predict", json={"features": SETOSA[:2]}).status_code == 422
    found = until_counted(agreeing, int(sum(before.values())) + 451)
    assert {name: found[name] - before[name] for name in found} == {
        "agreed": 451, "differed": 0, "failed": 0, "dropped": 0,
    }  # fmt: skip
    answers = metric(agreeing, "serving_shadow_answers_total", "answer", "shadow_answer")
    assert set(answers) == {(label, label) for label in CLASSES}
    assert metric(agreeing, "serving_shadow_difference_bucket", "le")[("0.001",)] == sum(found.values())
    assert metric(agreeing, "serving_shadow_psi", "model_name", "shadow") == {("iris-classifier", "8"): 0.0}
    assert metric(agreeing, "serving_shadow_ready", "shadow") == {("8",): 1}
    assert metric(agreeing, "serving_shadow_inference_seconds_count")[()] >= 1


def test_the_readme_lists_every_metric_of_it(agreeing: httpx.Client) -> None:
    agreeing.post("/predict", json={"features": SETOSA})
    until_counted(agreeing, 1)
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    lines = agreeing.get("/metrics").text.splitlines()
    types = [line.split()[2:4] for line in lines if line.startswith("# TYPE serving_shadow_")]
    assert len(types) == 6
    for name, kind in types:
        assert f"| `{name}` | {kind} |" in text


def test_a_shadow_never_answers_and_is_not_a_version_of_this_deployment(agreeing: httpx.Client) -> None:
    health = agreeing.get("/health").json()
    assert health["shadow"] == {"version": "8", "status": "ready", "reason": ""}
    assert (health["ready"], health["problem"], len(health["models"])) == (True, "", 1)
    assert agreeing.post("/predict", json={"features": SETOSA, "model_version": "8"}).status_code == 404
    assert agreeing.get("/model/info").json()["loaded_versions"] == ["7"]


@pytest.mark.slow
def test_one_that_differs_is_counted_exactly(iris: Bundle, other: tuple[Any, Bundle]) -> None:
    tree, bundle = other
    with shadowed(iris, bundle) as api:
        answered = api.post("/predict", json={"instances": ROWS}).json()["predictions"]
        found = until_counted(api, 150)
        confusion = metric(api, "serving_shadow_answers_total", "answer", "shadow_answer")
        index = metric(api, "serving_shadow_psi")[()]
        difference = metric(api, "serving_shadow_difference_sum")[()]
    main = [each["prediction"] for each in answered]
    shadow = tree.predict(IRIS.data.astype(np.float32)).tolist()
    pairs = list(zip(main, shadow, strict=True))
    differed = sum(ours != theirs for ours, theirs in pairs)
    assert differed > 10
    assert found == {"agreed": 150 - differed, "differed": differed, "failed": 0, "dropped": 0}
    assert confusion == {pair: pairs.count(pair) for pair in set(pairs)}
    counts = [np.array([labels.count(label) for label in CLASSES]) for labels in (main, shadow)]
    assert index == pytest.approx(psi(smoothed(counts[0]), counts[1]))
    probabilities = tree.predict_proba(IRIS.data.astype(np.float32))
    by_hand = sum(
        abs(each["probability"] - probabilities[at][CLASSES.index(each["prediction"])])
        for at, each in enumerate(answered)
    )
    assert difference == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.slow
def test_a_share_of_the_requests_is_taken(iris: Bundle) -> None:
    with shadowed(iris, iris, SHADOW_SAMPLE="0.3") as api:
        for _ in range(100):
            api.post("/predict", json={"features": SETOSA})
        # By chance, a correct sample is outside these bounds once in a hundred million times.
        wait_for(lambda: sum(rows_of(api).values()) > 5)
        assert sum(rows_of(api).values()) < 60


@pytest.mark.slow
def test_differences_of_numbers_are_relative_to_the_range_of_training(tmp_path: Path) -> None:
    rows, values = load_diabetes(return_X_y=True)
    edges = [50.0, 150.0, 250.0]
    shares = np.bincount(np.searchsorted(edges, values, side="right"), minlength=4) / len(values)
    features = [{"name": f"column {index}", "edges": [0.0], "shares": [0.5, 0.5]} for index in range(10)]
    prediction = {"rows": len(values), "shares": shares.tolist(), "edges": edges}
    baseline = {"version": 1, "rows": len(values), "features": features, "prediction": prediction}
    folder = tmp_path / "main"
    write_bundle(folder, "diabetes")
    (folder / "baseline.json").write_text(json.dumps(baseline))
    # This one uses less of a column, so some of its numbers differ.
    shifted = rows.copy()
    shifted[:, 2] *= 0.5
    model = LinearRegression().fit(shifted, values)
    shadow = made(tmp_path / "shadow", model, kind="diabetes", saved_as="")
    with shadowed(Bundle(folder, content_digest(folder)), shadow) as api:
        answered = api.post("/predict", json={"instances": rows.tolist()}).json()["predictions"]
        found = until_counted(api, len(rows))
        difference = metric(api, "serving_shadow_difference_sum")[()]
        index = metric(api, "serving_shadow_psi")[()]
        assert metric(api, "serving_shadow_answers_total", "answer") == {}
    main = np.array([each["prediction"] for each in answered])
    apart = np.abs(main - model.predict(rows)) / 200
    assert found["differed"] == pytest.approx((apart > 0.05).sum(), abs=1)
    assert found["agreed"] + found["differed"] == len(rows)
    assert 0 < found["differed"] < len(rows)
    assert difference == pytest.approx(apart.sum(), rel=1e-3)
    assert index > 0


@pytest.mark.slow
def test_a_table_with_text_and_gaps(tmp_path: Path) -> None:
    columns = [dict(column) for column in mixed.COLUMNS]
    columns[0] |= {"categories": ["Biscoe", "Dream"], "unknown": "refuse"}
    strict = {**ROW, "island": "Dream"}
    main = Bundle(tmp_path / "main", write_mixed(tmp_path / "main"))
    shadow = Bundle(tmp_path / "shadow", write_mixed(tmp_path / "shadow", columns=columns, example=strict))
    rows = [mixed.requested(row) for row in mixed.table(60)]
    with shadowed(main, shadow) as api:
        assert api.post("/predict", json={"instances": rows}).status_code == 200
        found = until_counted(api, 60)
    # Rows that the shadow would refuse count as failed.
    refused = sum(row[0] == "Torgersen" for row in rows)
    assert found == {"agreed": 60 - refused, "differed": 0, "failed": refused, "dropped": 0}


def renamed(folder: Path, source: Bundle, change: Any) -> Bundle:
    """Return a copy of a model with a changed MLmodel file."""
    shutil.copytree(source.folder, folder)
    document = yaml.safe_load((folder / "MLmodel").read_text())
    change(document)
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return Bundle(folder, content_digest(folder))


def with_another_name(document: dict[str, Any]) -> None:
    document["signature"]["inputs"] = document["signature"]["inputs"].replace("petal width (cm)", "width")


def with_whole_numbers(document: dict[str, Any]) -> None:
    document["signature"]["inputs"] = document["signature"]["inputs"].replace('"double"', '"long"', 1)


def with_broken_graph(document: dict[str, Any]) -> None:
    document["flavors"] = {"onnx": {"data": "MLmodel"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_another_name, "the model that answers: it lacks 'petal width (cm)' and has 'width'"),
        (with_whole_numbers, "its column 'sepal length (cm)' is of kind integer, but that of the model that answers"),
        (with_broken_graph, "its ONNX file cannot be loaded"),
        (None, "but sha256-v2:" + "0" * 64 + " is expected"),
        ("gone", "there are no files"),
        ("regression", "its task is regression, but that of the model that answers is classification"),
    ],
)
def test_one_that_cannot_be_compared_says_why_and_has_no_other_effect(
    iris: Bundle, diabetes: Bundle, tmp_path: Path, serve: Serve, change: Any, reason: str
) -> None:
    if callable(change):
        shadow = renamed(tmp_path / "shadow", iris, change)
    elif change == "regression":
        shadow = diabetes
    else:
        shadow = Bundle(tmp_path / "nowhere" if change else iris.folder, "sha256-v2:" + "0" * 64)
    api = serve({**iris.pin(), **shadow_of(shadow)})
    until_ready(api)
    told = until_shadow(api, "failed")
    assert reason in told["reason"]
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["problem"]) == (200, "")
    assert api.post("/predict", json={"instances": ROWS}).status_code == 200
    assert metric(api, "serving_shadow_ready", "model_name", "shadow") == {("iris-classifier", "8"): 0}
    assert sum(rows_of(api).values()) == 0
    assert metric(api, "serving_model_load_failures_total") == {(): 0}


@pytest.mark.slow
def test_a_slow_one_drops_rows_and_delays_nobody(iris: Bundle, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        wide = MLPClassifier((1500, 1500), max_iter=1, random_state=1).fit(IRIS.data, IRIS.target)
    slow = made(tmp_path / "slow", wide, saved_as="")
    expected: Any = None
    sent = 12
    body = {"instances": (ROWS * 7)[:1000]}
    with shadowed(iris, slow) as api:
        for _ in range(sent):
            answer = api.post("/predict", json=body)
            assert answer.status_code == 200
            expected = expected or answer.json()["predictions"]
            assert answer.json()["predictions"] == expected
        wait_for(lambda: rows_of(api)["dropped"] >= sent * 1000 - MOST_ROWS - 1000)
        assert rows_of(api)["dropped"] % 1000 == 0
        assert rows_of(api)["failed"] == 0


def test_without_a_shadow_there_is_no_trace_of_one(iris_api: httpx.Client) -> None:
    assert "shadow" not in iris_api.get("/health").json()
    assert "serving_shadow" not in iris_api.get("/metrics").text
