"""Several models in one process: each answers for itself under /v2, all must be loaded, and none is mixed up.

The versions of both are 7 on purpose. tests/integration/test_serving_models.py follows and evicts under load.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from modelformat.digest import content_digest
from services.serving.tests.bundles import SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, running, until_ready, wait_for
from services.serving.tests.test_api import sample
from services.serving.tests.test_drift import of_iris, regression

OTHER = "/v2/models/diabetes"
MAIN = "/v2/models/iris-classifier"
WRONG = "sha256:" + "0" * 64


def further(*models: tuple[str, Bundle], digest: str = "") -> dict[str, str]:
    """Return settings that pin more models, with a wrong digest if one is given."""
    pins = [
        {"name": name, "version": "7", "uri": bundle.folder.as_uri(), "digest": digest or bundle.digest}
        for name, bundle in models
    ]
    return {"EXTRA_MODELS": json.dumps(pins)}


@pytest.fixture(scope="module")
def both(iris: Bundle, diabetes: Bundle) -> Iterator[httpx.Client]:
    """Serve the classifier as the main model, and the regression as another."""
    with running(iris.pin() | further(("diabetes", diabetes))) as client:
        until_ready(client)
        yield client


def infer(api: httpx.Client, path: str, row: list[float], rows: int = 1) -> dict[str, Any]:
    tensor = {"name": "features", "datatype": "FP64", "shape": [rows, len(row)], "data": [row] * rows}
    response = api.post(f"{path}/infer", json={"inputs": [tensor]})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_each_describes_itself(both: httpx.Client) -> None:
    main, other = both.get(MAIN).json(), both.get(f"{OTHER}/versions/7").json()
    assert (main["name"], main["versions"], main["inputs"][0]["shape"]) == ("iris-classifier", ["7"], [-1, 4])
    assert (other["name"], other["versions"], other["inputs"][0]["shape"]) == ("diabetes", ["7"], [-1, 10])
    assert [output["name"] for output in other["outputs"]] == ["prediction"]
    assert both.get(f"{OTHER}/ready").json() == {"name": "diabetes", "ready": True}
    assert both.get("/v2/health/ready").json() == {"ready": True}


def test_each_answers_for_itself(both: httpx.Client) -> None:
    for _ in range(3):
        main, other = infer(both, MAIN, SETOSA), infer(both, f"{OTHER}/versions/latest", [0.01] * 10)
        assert (main["model_name"], main["model_version"]) == ("iris-classifier", "7")
        assert main["outputs"][0]["data"] == ["setosa"]
        assert (other["model_name"], other["model_version"]) == ("diabetes", "7")
        assert 50 < other["outputs"][0]["data"][0] < 300


def test_predict_and_model_info_are_the_main_models(both: httpx.Client) -> None:
    assert both.post("/predict", json={"features": SETOSA}).json()["prediction"] == "setosa"
    assert both.post("/predict", json={"features": [0.01] * 10}).status_code == 422
    info = both.get("/model/info").json()
    assert (info["name"], info["loaded_versions"]) == ("iris-classifier", ["7"])


def test_health_describes_each_model(both: httpx.Client) -> None:
    health = both.get("/health").json()
    assert (health["ready"], health["problem"], health["model_version"]) == (True, "", "7")
    digests = [model.pop("digest") for model in health["models"]]
    assert health["models"] == [
        {"name": "iris-classifier", "version": "7", "problem": ""},
        {"name": "diabetes", "version": "7", "problem": ""},
    ]
    assert digests[0] == both.get("/model/info").json()["digest"] != digests[1]


def test_the_error_for_an_unknown_name_lists_the_known_ones(both: httpx.Client) -> None:
    for path in ("/v2/models/other", "/v2/models/other/versions/7/ready"):
        response = both.get(path)
        assert response.status_code == 404
        assert response.json() == {"error": "This server has no model 'other', only 'iris-classifier', 'diabetes'."}
    response = both.get(f"{OTHER}/versions/8")
    assert response.status_code == 404
    assert "pinned to version 7 of 'diabetes'" in response.json()["error"]


def test_of_many_names_not_all_are_listed(serve: Serve, diabetes: Bundle) -> None:
    names = [f"model-{index}" for index in range(30)]
    api = serve(further(*((name, diabetes) for name in names), digest=WRONG))
    told = api.get("/v2/models/other").json()["error"]
    assert "'iris-classifier', 'model-0', " in told
    assert told.endswith("'model-18' and 11 more.")


def test_the_document_describes_all_of_them(both: httpx.Client) -> None:
    document = both.get("/docs/openapi.json").json()
    assert "/predict and /model/info use iris-classifier" in document["info"]["description"]
    [name] = document["paths"]["/v2/models/{model_name}/infer"]["post"]["parameters"]
    assert name["schema"] == {"enum": ["iris-classifier", "diabetes"]}
    tensors = document["components"]["schemas"]["InputTensor"]["properties"]["name"]["enum"]
    assert {"features", "petal width (cm)", "column 9"} <= set(tensors)
    assert len(tensors) == len(set(tensors)) == 15


@pytest.mark.slow
def test_metrics_are_by_model(serve: Serve, iris: Bundle, diabetes: Bundle) -> None:
    api = serve(iris.pin() | further(("diabetes", diabetes)))
    until_ready(api)
    infer(api, MAIN, SETOSA, rows=2)
    infer(api, OTHER, [0.01] * 10, rows=3)
    predicted = {"model_version": "7", "model_name": "diabetes", "class": ""}
    assert sample(api, "serving_predictions_total", **predicted) == 3
    predicted = {"model_version": "7", "model_name": "iris-classifier", "class": "setosa"}
    assert sample(api, "serving_predictions_total", **predicted) == 2
    for name, bundle in (("iris-classifier", iris), ("diabetes", diabetes)):
        for metric in ("serving_model_info", "serving_pinned_model_info"):
            assert sample(api, metric, name=name, version="7", digest=bundle.digest) == 1
    assert sample(api, "serving_models_loaded") == sample(api, "serving_model_loads_total") == 2


def test_the_process_is_ready_only_when_all_are_loaded(serve: Serve, iris: Bundle, diabetes: Bundle) -> None:
    api = serve(iris.pin() | further(("diabetes", diabetes), digest=WRONG))
    wait_for(lambda: WRONG in api.get("/health").json()["problem"])
    health = api.get("/health").json()
    assert (health["ready"], health["model_version"]) == (False, "7")
    assert health["problem"].startswith("diabetes: its files have digest")
    assert [model["version"] for model in health["models"]] == ["7", None]
    for path in ("/health/ready", "/v2/health/ready", f"{OTHER}/ready", f"{OTHER}/versions/7"):
        response = api.get(path)
        assert response.status_code == 503
        assert "'diabetes' is not loaded yet" in response.text
    assert sample(api, "serving_ready") == 0
    # The loaded model answers nevertheless.
    assert api.get(f"{MAIN}/ready").status_code == 200
    assert api.post("/predict", json={"features": SETOSA}).status_code == 200


@pytest.mark.slow
def test_models_with_the_same_files_are_kept_apart(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin() | further(("twin", iris)))
    until_ready(api)
    infer(api, "/v2/models/twin", SETOSA)
    assert infer(api, "/v2/models/twin", SETOSA)["model_name"] == "twin"
    assert sample(api, "serving_predictions_total", model_name="twin") == 2
    assert sample(api, "serving_predictions_total", model_name="iris-classifier") == 0


@pytest.mark.slow
def test_drift_is_measured_for_each_with_a_baseline(
    serve: Serve, iris: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    classifier, regressor = tmp_path_factory.mktemp("watched"), tmp_path_factory.mktemp("watched too")
    write_bundle(classifier)
    write_bundle(regressor, "diabetes")
    numbers = regression(10)
    for index, feature in enumerate(numbers["features"]):
        feature["name"] = f"column {index}"
    for folder, baseline in ((classifier, of_iris()), (regressor, numbers)):
        (folder / "baseline.json").write_text(json.dumps(baseline))
    watched = [Bundle(folder, content_digest(folder)) for folder in (classifier, regressor)]
    api = serve(watched[0].pin() | further(("numbers", watched[1]), ("unwatched", iris)))
    until_ready(api)
    infer(api, MAIN, SETOSA, rows=4)
    infer(api, "/v2/models/numbers", [0.01] * 10, rows=5)
    infer(api, "/v2/models/unwatched", SETOSA, rows=6)
    lines = api.get("/metrics").text.splitlines()
    for family in ("drift_window_rows", "input_psi", "prediction_psi", "prediction_probability"):
        assert sum(line.startswith(f"# TYPE serving_{family} ") for line in lines) == 1
    assert sample(api, "serving_drift_window_rows", model_name="iris-classifier") == 4
    assert sample(api, "serving_drift_window_rows", model_name="numbers") == 5
    assert sample(api, "serving_input_psi", model_name="iris-classifier", feature="petal width (cm)") > 0.1
    assert sample(api, "serving_input_psi", model_name="numbers", feature="column 9") > 0.1
    assert sample(api, "serving_prediction_psi", model_name="numbers") > 0.1
    assert sample(api, "serving_prediction_probability_count", model_name="iris-classifier") == 4
    assert sample(api, "serving_prediction_probability_count", model_name="numbers") == 0
    assert not [line for line in lines if 'model_name="unwatched"' in line and "psi" in line]
