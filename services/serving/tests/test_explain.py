"""POST /explain: contributions that add up to the answer of /predict, within bounds, and only if it is switched on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier

from modelformat.digest import content_digest
from services.serving.tests import mixed
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, running, until_ready, wait_for
from services.serving.tests.mixed import write_mixed
from services.serving.tests.test_drift import of_iris, shares
from serving.errors import InvalidInputError
from serving.explaining.queue import Limits, Queue
from serving.explaining.rows import explain
from serving.explaining.tally import ExplainTally
from serving.loader import LoadedModel
from serving.opening import open_folder
from serving.runtimes.base import Matrix, Runtime, RuntimeOptions
from serving.schemas import RowExplanation

ON = {"EXPLAIN": "true"}


def with_baseline(folder: Path, baseline: dict[str, Any]) -> Bundle:
    (folder / "baseline.json").write_text(json.dumps(baseline))
    return Bundle(folder, content_digest(folder))


def of_diabetes() -> dict[str, Any]:
    rows, target = load_diabetes(return_X_y=True)
    edges = [np.unique(np.quantile(column, [0.25, 0.5, 0.75]).astype(np.float32)).tolist() for column in rows.T]
    features = [
        {"name": f"column {index}", "edges": found, "shares": shares(column.astype(np.float32), found)}
        for index, (column, found) in enumerate(zip(rows.T, edges, strict=True))
    ]
    prediction = {"rows": len(rows), "edges": [150.0], "shares": shares(target, [150.0])}
    return {"version": 1, "rows": len(rows), "features": features, "prediction": prediction}


@pytest.fixture(scope="module")
def iris_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("iris")
    write_bundle(folder)
    return with_baseline(folder, of_iris())


@pytest.fixture(scope="module")
def diabetes_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("diabetes")
    write_bundle(folder, "diabetes")
    return with_baseline(folder, of_diabetes())


@pytest.fixture(scope="module")
def api(iris_bundle: Bundle) -> Iterator[httpx.Client]:
    with running(iris_bundle.pin(**ON)) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module")
def regression(diabetes_bundle: Bundle) -> Iterator[httpx.Client]:
    with running(diabetes_bundle.pin(**ON)) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("penguins")
    bundle = Bundle(folder, write_mixed(folder, drift=True))
    with running(bundle.pin(**ON)) as client:
        until_ready(client)
        yield client


def explained(api: httpx.Client, body: Any, **options: Any) -> dict[str, Any]:
    response = api.post("/explain", json=body, **options)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def adds_up(part: dict[str, Any]) -> bool:
    total = part["base"] + sum(each["contribution"] for each in part["contributions"])
    return bool(total == pytest.approx(part["value"], abs=1e-9, rel=1e-9))


def metric(api: httpx.Client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(api.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_a_row_is_explained_by_its_columns(api: httpx.Client) -> None:
    answer = explained(api, {"features": SETOSA})
    assert list(answer) == ["explanations", "method", "model_version", "latency_ms"]
    assert (answer["method"], answer["model_version"]) == ("exact", "7")
    [row] = answer["explanations"]
    predicted = api.post("/predict", json={"features": SETOSA}).json()
    assert (row["prediction"], row["probability"]) == (predicted["prediction"], predicted["probability"])
    [part] = row["explained"]
    assert (part["label"], part["error"]) == ("setosa", 0)
    assert part["value"] == pytest.approx(predicted["probability"], abs=1e-6)
    assert 0 < part["base"] < part["value"]
    assert adds_up(part)
    assert [each["column"] for each in part["contributions"]] == COLUMNS
    contributions = {each["column"]: each["contribution"] for each in part["contributions"]}
    # The short petals say most about a setosa.
    assert max(contributions, key=contributions.__getitem__) == "petal length (cm)"


def test_many_rows_and_all_labels(api: httpx.Client) -> None:
    rows = [SETOSA, dict(zip(COLUMNS, [6.7, 3.0, 5.2, 2.3], strict=True)), SETOSA]
    answer = explained(api, {"instances": rows, "labels": "all", "model_version": "7"})
    found = answer["explanations"]
    assert [row["prediction"] for row in found] == ["setosa", "virginica", "setosa"]
    assert found[0] == found[2]
    for row in found:
        assert [part["label"] for part in row["explained"]] == CLASSES
        assert all(map(adds_up, row["explained"]))
        # The probabilities of all labels add up to 1, so a column that raises one lowers others.
        by_column = [[each["contribution"] for each in part["contributions"]] for part in row["explained"]]
        assert np.array(by_column).sum(axis=0) == pytest.approx(0, abs=1e-6)


def test_a_linear_model_is_explained_by_its_terms(regression: httpx.Client) -> None:
    row = load_diabetes(return_X_y=True)[0][3].tolist()
    answer = explained(regression, {"features": row})
    assert answer["method"] == "sampled"
    [found] = answer["explanations"]
    [part] = found["explained"]
    predicted = regression.post("/predict", json={"features": row}).json()["prediction"]
    assert (found["prediction"], found["probability"], part["label"]) == (predicted, None, None)
    assert part["value"] == pytest.approx(predicted, rel=1e-5)
    assert adds_up(part)
    assert part["error"] > 0
    # For a linear model: how much the answer changes with a column, times the distance of the row from the mean.
    higher = [value + 0.01 * (index == 2) for index, value in enumerate(row)]
    slope = (regression.post("/predict", json={"features": higher}).json()["prediction"] - predicted) / 0.01
    [again] = explained(regression, {"features": higher})["explanations"][0]["explained"]
    moved = again["contributions"][2]["contribution"] - part["contributions"][2]["contribution"]
    assert moved == pytest.approx(slope * 0.01, rel=1e-3)
    assert answer["explanations"] == explained(regression, {"features": row})["explanations"]


@pytest.mark.parametrize("gone", [(), ("sex",), ("bill (mm)", "ringed")])
def test_columns_of_every_kind_and_missing_values_are_explained(penguins: httpx.Client, gone: tuple[str, ...]) -> None:
    row = {name: value for name, value in mixed.ROW.items() if name not in gone}
    answer = explained(penguins, {"instances": [row], "labels": "all"})
    [found] = answer["explanations"]
    assert answer["method"] == "exact"
    assert [each["column"] for each in found["explained"][0]["contributions"]] == mixed.NAMES
    assert all(map(adds_up, found["explained"]))
    predicted = penguins.post("/predict", json={"features": row}).json()
    assert (found["prediction"], found["probability"]) == (predicted["prediction"], predicted["probability"])


def test_unknown_texts_are_explained_or_refused_as_by_predict(serve: Serve, tmp_path: Path) -> None:
    strict = [{**mixed.COLUMNS[0], "unknown": "refuse"}, *mixed.COLUMNS[1:]]
    folder = tmp_path / "model"
    api = serve(Bundle(folder, write_mixed(folder, columns=strict, drift=True)).pin(**ON))
    until_ready(api)
    assert explained(api, {"features": {**mixed.ROW, "sex": "unheard of"}})["explanations"]
    response = api.post("/explain", json={"features": {**mixed.ROW, "island": "unheard of"}})
    assert response.status_code == 422
    assert "unknown category" in response.text
    assert metric(api, "serving_unknown_categories_total", column="island") == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        ({}, 422, "expected either `features` (one row) or `instances` (many)"),
        ({"features": SETOSA, "instances": [SETOSA]}, 422, "expected either"),
        ({"features": [1, 2, None, 4]}, 422, "features[2]"),
        ({"instances": [SETOSA, [1, 2]]}, 422, "instances[1]: expected 4 values"),
        ({"instances": []}, 422, "at least one row"),
        ({"instances": [SETOSA] * 11}, 413, "has 11 rows, but at most 10 are explained at once"),
        ({"features": SETOSA, "labels": "setosa"}, 422, "labels: 'setosa' is not known; known ones are answered, all"),
        ({"features": SETOSA, "label": "all"}, 422, "known ones are features, instances, model_version, labels"),
        ({"features": SETOSA, "model_version": "8"}, 404, "pinned to version 7"),
    ],
)
def test_bad_input_is_named(api: httpx.Client, body: Any, status: int, message: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = api.post("/explain", content=content)
    assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text


def test_it_is_off_by_default(iris_api: httpx.Client) -> None:
    assert iris_api.post("/explain", json={"features": SETOSA}).status_code == 404
    assert "/explain" not in iris_api.get("/openapi.json").json()["paths"]
    assert "serving_explan" not in iris_api.get("/metrics").text


def test_a_version_without_a_baseline_cannot_be_explained(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(**ON))
    until_ready(api)
    response = api.post("/explain", json={"features": SETOSA})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "model_version")
    assert "baseline.json" in response.text


def test_it_needs_the_keys_that_predictions_need(serve: Serve, iris_bundle: Bundle) -> None:
    api = serve(iris_bundle.pin(**ON, API_KEYS="alice:first-key-0123456789"))
    until_ready(api)
    assert api.post("/explain", json={"features": SETOSA}).status_code == 401
    assert explained(api, {"features": SETOSA}, headers={"x-api-key": "first-key-0123456789"})


def opened(folder: Path) -> LoadedModel:
    """Return a version as a server has it in memory, without its trial, which takes long to import scikit-learn."""
    found = open_folder(folder, RuntimeOptions())
    return LoadedModel(
        "model", "7", "", "", found.spec, found.runtime, found.reader, found.example, found.pace, 0, found.baseline
    )


def by_function(model: LoadedModel, row: Any) -> RowExplanation:
    assert model.baseline
    explanations = explain(model, model.baseline, model.reader.one(row), 4096, True, lambda: None)
    assert explanations.exact
    [found] = explanations.rows
    return found


def test_scikit_learn_explains_as_its_twin_does(tmp_path: Path) -> None:
    rows = [{**mixed.ROW, "sex": None}, mixed.ROW]
    for folder, twin in ((tmp_path / "onnx", True), (tmp_path / "sklearn", False)):
        write_mixed(folder, onnx_twin=twin, drift=True)
    onnx, sklearn = opened(tmp_path / "onnx"), opened(tmp_path / "sklearn")
    assert (onnx.runtime.name, sklearn.runtime.name) == ("onnx", "sklearn")
    for row in rows:
        ours, theirs = (
            [[each.contribution for each in part.contributions] for part in by_function(model, row).explained]
            for model in (onnx, sklearn)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_models_that_name_the_class_themselves(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    forest = RandomForestClassifier(20, random_state=0).fit(rows, [CLASSES[label] for label in labels])
    write_bundle(tmp_path, estimator=forest, onnx=False)
    text = (tmp_path / "MLmodel").read_text()
    (tmp_path / "MLmodel").write_text(text.replace("task: classification", "task: classification\n  labels: only"))
    with_baseline(tmp_path, of_iris())
    row = by_function(opened(tmp_path), SETOSA)
    assert (row.prediction, row.probability) == ("setosa", None)
    # The value is 1 for the named class. The base is its share among rows like those of training.
    assert [part.value for part in row.explained] == [1, 0, 0]
    assert 0.2 < row.explained[0].base < 0.5
    assert all(adds_up(msgspec.to_builtins(part)) for part in row.explained)


def test_a_model_without_an_answer_to_a_changed_row_says_so(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    with_baseline(tmp_path, of_iris())
    model = opened(tmp_path)
    with pytest.raises(InvalidInputError, match="so the row cannot be explained"):
        by_function(msgspec.structs.replace(model, runtime=_Speechless(model.runtime)), SETOSA)


class _Speechless:
    """A model that answers only the row itself."""

    name = "onnx"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.dtypes, self.output_dtype = runtime.dtypes, runtime.output_dtype

    def run(self, features: Matrix) -> Matrix:
        result = self._runtime.run(features).copy()
        result[(features != np.array(SETOSA, np.float32)).any(axis=1)] = np.nan
        return result


# Long work: all 1,024 sets of columns on 32 rows, for each of many rows.
SLOW = {**ON, "EXPLAIN_ROWS": "1000", "EXPLAIN_EVALUATIONS": "1000000"}


def long_body(rows: int = 1000) -> dict[str, Any]:
    return {"instances": load_diabetes(return_X_y=True)[0][:1].repeat(rows, axis=0).tolist()}


@pytest.mark.slow
def test_a_caller_that_comes_when_enough_wait_is_told_when_to_retry(serve: Serve, diabetes_bundle: Bundle) -> None:
    api = serve(diabetes_bundle.pin(**SLOW, EXPLAIN_WAITING="1", EXPLAIN_SECONDS="60"))
    until_ready(api)
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(api.post, "/explain", json=long_body(15)) for _ in range(8)]
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert 5 <= len(refused) <= 6
    for answer in refused:
        assert answer.json()["detail"] == "Too many explanations are already waiting; try again later."
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert metric(api, "serving_explanations_refused_total", reason="full") == len(refused)
    done = len(answers) - len(refused)
    assert metric(api, "serving_explanations_total") == 15 * done
    assert metric(api, "serving_explanation_seconds_count") == done
    # The next request finds room.
    assert explained(api, long_body(1))


def test_an_explanation_that_takes_too_long_stops_and_frees_the_thread(serve: Serve, diabetes_bundle: Bundle) -> None:
    api = serve(diabetes_bundle.pin(**SLOW, EXPLAIN_SECONDS="0.5"))
    until_ready(api)
    response = api.post("/explain", json=long_body())
    assert response.status_code == 503
    assert "not ready within 0.5 seconds; send fewer rows" in response.json()["detail"]
    assert int(response.headers["retry-after"]) >= 1
    assert metric(api, "serving_explanations_refused_total", reason="time") == 1
    wait_for(lambda: "explain" not in {thread.name for thread in threading.enumerate()})
    # On a busy machine even one row can take longer than the limit.
    wait_for(lambda: "explanations" in api.post("/explain", json=long_body(1)).json())


def test_a_thread_that_cannot_start_leaves_its_turn_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        queue = Queue(Limits(0, 5.0), ExplainTally())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(RuntimeError, match="can't start"):
                await queue.run(lambda _: "explained")
        assert (await queue.run(lambda _: "explained"))[0] == "explained"
        await queue.aclose()

    asyncio.run(main())


@pytest.mark.slow
def test_predictions_continue_meanwhile_and_explanations_do_not_count_as_waiting(
    serve: Serve, diabetes_bundle: Bundle
) -> None:
    api = serve(diabetes_bundle.pin(**SLOW, EXPLAIN_SECONDS="3"))
    until_ready(api)
    row = long_body(1)["instances"][0]
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(api.post, "/explain", json=long_body())
        wait_for(lambda: metric(api, "serving_requests_in_flight") > 1)
        answered = 0
        while not asked.done():
            assert api.post("/predict", json={"features": row}).status_code == 200
            answered += 1
        assert asked.result().status_code == 503
    assert answered > 20
    # Rows that the model computed for the explanation do not count as predictions.
    assert metric(api, "serving_predictions_total") == answered
