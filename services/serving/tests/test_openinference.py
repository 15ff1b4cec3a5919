"""The Open Inference Protocol over HTTP: rows in both forms, every error in the protocol's form, and never a 500."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelformat.digest import content_digest
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, until_ready
from services.serving.tests.test_api import sample

MODEL = "/v2/models/iris-classifier"
ROWS = [SETOSA, [6.7, 3.0, 5.2, 2.3]]


def features(rows: list[list[float]] = ROWS, **more: Any) -> dict[str, Any]:
    return {"name": "features", "datatype": "FP64", "shape": [len(rows), 4], "data": rows, **more}


def infer(api: httpx.Client, *inputs: dict[str, Any], path: str = MODEL, **more: Any) -> httpx.Response:
    return api.post(f"{path}/infer", json={"inputs": list(inputs), **more})


def error(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    found = response.json()
    assert list(found) == ["error"]
    message: str = found["error"]
    return message


def test_the_server_and_the_model_describe_themselves(iris_api: httpx.Client) -> None:
    assert iris_api.get("/v2/health/live").json() == {"live": True}
    assert iris_api.get("/v2/health/ready").json() == {"ready": True}
    server = iris_api.get("/v2").json()
    assert server == iris_api.get("/v2/").json()
    assert (server["name"], server["extensions"]) == ("serving", ["binary_tensor_data"])
    for path in (MODEL, f"{MODEL}/versions/7", f"{MODEL}/versions/latest"):
        assert iris_api.get(f"{path}/ready").json() == {"name": "iris-classifier", "ready": True}
        assert iris_api.get(path).json() == {
            "name": "iris-classifier",
            "versions": ["7"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "features", "datatype": "FP64", "shape": [-1, 4], "parameters": {"columns": COLUMNS}}],
            "outputs": [
                {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3], "parameters": {"classes": CLASSES}},
            ],
        }


def test_predictions_are_the_same_as_from_predict(iris_api: httpx.Client) -> None:
    answer = infer(iris_api, features(), id="mine").json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("iris-classifier", "7", "mine")
    prediction, probabilities = answer["outputs"]
    plain = iris_api.post("/predict", json={"instances": ROWS}).json()["predictions"]
    assert prediction["data"] == [one["prediction"] for one in plain]
    found = np.array(probabilities["data"]).reshape(probabilities["shape"])
    np.testing.assert_allclose(found.max(axis=1), [one["probability"] for one in plain], atol=1e-6)


def test_columns_may_come_one_by_one(iris_api: httpx.Client) -> None:
    columns = [
        {"name": name, "datatype": "FP32", "shape": [2, 1], "data": values}
        for name, values in zip(COLUMNS, zip(*ROWS, strict=True), strict=True)
    ]
    flat = [{**column, "shape": [2]} for column in columns]
    whole = infer(iris_api, features()).json()["outputs"]
    assert infer(iris_api, *columns).json()["outputs"] == infer(iris_api, *reversed(flat)).json()["outputs"] == whole


def test_only_the_requested_outputs_are_sent(iris_api: httpx.Client) -> None:
    answer = infer(iris_api, features(), outputs=[{"name": "prediction"}]).json()
    assert [output["name"] for output in answer["outputs"]] == ["prediction"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([features([SETOSA[:3]], shape=[1, 3])], "inputs['features']: expected shape [rows, 4], got [1, 3]"),
        ([features([SETOSA], shape=[4], data=SETOSA)], "expected shape [rows, 4], got [4]"),
        ([features([], shape=[0, 4])], "expected at least one row"),
        ([features([], shape=[0, 2**63 - 1])], "Expected `int` <= 2147483647"),
        ([features([], shape=[0, 2**64])], "Expected `int` <= 2147483647"),
        ([features([], shape=[0, 2**31 - 1])], "expected shape [rows, 4]"),
        ([features([[1, 2, 1e39, 4]])], "in row 0 (column 'petal length (cm)')"),
        ([features([SETOSA, [1, 2, 3, -2e30]])], "in row 1 (column 'petal width (cm)')"),
        ([features([[True] * 4], datatype="BOOL")], "expected a number, not true or false (BOOL)"),
        ([features(), {**features(), "name": "more"}], "must not have 'more'"),
        ([{**features(), "name": "rows"}], "unknown tensor 'rows'; expected 'features', or one tensor for each of"),
        ([{"name": COLUMNS[0], "datatype": "FP64", "shape": [1], "data": [1]}], "'sepal width (cm)' is missing"),
        ([{"name": n, "datatype": "FP64", "shape": [1, 2], "data": [1, 2]} for n in COLUMNS], "or [rows, 1]"),
        (
            [
                {"name": name, "datatype": "FP64", "shape": [size], "data": [1] * size}
                for name, size in zip(COLUMNS, [1, 2, 2, 2], strict=True)
            ],
            "different numbers of rows: [1, 2]",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_model_are_named(
    iris_api: httpx.Client, inputs: list[dict[str, Any]], reason: str
) -> None:
    assert reason in error(infer(iris_api, *inputs), 400)


def test_errors_of_http_have_the_protocols_form_too(iris_api: httpx.Client) -> None:
    for path in ("/v2/nothing", "/v2/models", f"{MODEL}/explain", f"{MODEL}/versions", f"{MODEL}/versions/7/x"):
        assert "/docs" in error(iris_api.get(path), 404)
    assert "only 'iris-classifier'" in error(iris_api.get("/v2/models/other/ready"), 404)
    assert "pinned to version 7" in error(infer(iris_api, features(), path=f"{MODEL}/versions/8"), 404)
    assert iris_api.get(f"{MODEL}/infer").headers["allow"] == "POST, OPTIONS"
    error(iris_api.get(f"{MODEL}/infer"), 405)
    assert iris_api.post(MODEL).headers["allow"] == "GET, HEAD, OPTIONS"
    error(iris_api.post("/v2/health/live"), 405)
    error(iris_api.post(f"{MODEL}/infer", content=b"x", headers={"content-type": "text/plain"}), 415)
    error(iris_api.post(f"{MODEL}/infer", content=b"x", headers={"content-encoding": "br"}), 415)
    error(iris_api.post(f"{MODEL}/infer", content=b"\xff"), 400)
    for length in ("-1", "x", "9" * 30, "1000"):
        headers = {"inference-header-content-length": length}
        assert "Inference-Header-Content-Length" in error(
            iris_api.post(f"{MODEL}/infer", content=b"{}", headers=headers), 400
        )


def test_limits_hold(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MAX_ROWS="3", MAX_BODY_BYTES="1000"))
    until_ready(api)
    assert infer(api, features([SETOSA] * 3)).status_code == 200
    assert "at most 3" in error(infer(api, features([SETOSA] * 4)), 413)
    error(api.post(f"{MODEL}/infer", content=b" " * 1001), 413)


def test_before_there_is_a_model(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_DIGEST="sha256:" + "0" * 64))
    assert api.get("/v2").status_code == api.get("/v2/health/live").status_code == 200
    for response in (api.get("/v2/health/ready"), api.get(MODEL), api.get(f"{MODEL}/ready"), infer(api, features())):
        assert "'iris-classifier' is not loaded yet" in error(response, 503)
        assert int(response.headers["retry-after"]) >= 1


def test_regression_gives_numbers(serve: Serve, diabetes: Bundle) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    assert api.get(MODEL).json()["outputs"] == [{"name": "prediction", "datatype": "FP32", "shape": [-1]}]
    tensor = {"name": "features", "datatype": "FP32", "shape": [2, 10], "data": [0.01] * 20}
    [output] = infer(api, tensor).json()["outputs"]
    assert output["shape"] == [2]
    expected = api.post("/predict", json={"features": [0.01] * 10}).json()["prediction"]
    np.testing.assert_allclose(output["data"], expected, rtol=1e-6)


def test_a_row_without_a_finite_answer_is_named(serve: Serve, tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    steep = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows * 1e-12, [CLASSES[i] for i in labels])
    api = serve(Bundle(tmp_path, write_bundle(tmp_path, estimator=steep)).pin())
    until_ready(api)
    response = infer(api, features([[1e-12] * 4, [1e30, -1e30, 1e30, -1e30]]))
    assert "inputs[1]: the model has no finite answer" in error(response, 400)


@pytest.fixture
def mixed(tmp_path: Path) -> Bundle:
    """Return the classifier, with columns of four types in its signature."""
    write_bundle(tmp_path)
    mlmodel = yaml.safe_load((tmp_path / "MLmodel").read_text())
    inputs = json.loads(mlmodel["signature"]["inputs"])
    for column, kind in zip(inputs, ["double", "long", "integer", "boolean"], strict=True):
        column["type"] = kind
    mlmodel["signature"]["inputs"] = json.dumps(inputs)
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    return Bundle(tmp_path, content_digest(tmp_path))


def test_columns_of_several_types_are_checked_each(serve: Serve, mixed: Bundle) -> None:
    api = serve(mixed.pin())
    until_ready(api)
    described = api.get(MODEL).json()["inputs"]
    assert [(tensor["datatype"], tensor["shape"]) for tensor in described] == [
        ("FP64", [-1, 1]),
        ("INT64", [-1, 1]),
        ("INT32", [-1, 1]),
        ("BOOL", [-1, 1]),
    ]
    columns = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [1, 1], "data": [value]}
        for tensor, value in zip(described, [5.1, 3, 1, True], strict=True)
    ]
    expected = api.post("/predict", json={"features": [5.1, 3, 1, True]}).json()["probability"]
    whole = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3, 1, 1]}
    for inputs in (columns, [whole]):
        assert max(infer(api, *inputs).json()["outputs"][1]["data"]) == pytest.approx(expected, abs=1e-6)
    for data, reason in (
        ([5.1, 3.5, 1, 1], "expected an integer, got 3.5"),
        ([5.1, 3, 2**24 + 2, 1], "expected a whole number between -16777216 and 16777216, because the model"),
        ([5.1, 3, 1, 2], "expected true or false"),
    ):
        assert reason in error(infer(api, {**whole, "datatype": "FP64", "data": data}), 400)


def test_a_column_with_the_name_features_is_a_column(serve: Serve, tmp_path: Path) -> None:
    write_bundle(tmp_path)
    for name in ("MLmodel", "input_example.json"):
        file = tmp_path / name
        file.write_text(file.read_text().replace(COLUMNS[1], "features"))
    api = serve(Bundle(tmp_path, content_digest(tmp_path)).pin())
    until_ready(api)
    described = api.get(MODEL).json()["inputs"]
    assert [tensor["name"] for tensor in described] == [COLUMNS[0], "features", *COLUMNS[2:]]
    columns = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [1, 1], "data": [value]}
        for tensor, value in zip(described, SETOSA, strict=True)
    ]
    assert infer(api, *columns).json()["outputs"][0]["data"] == ["setosa"]
    said = error(infer(api, {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": SETOSA}), 400)
    assert f"the tensor '{COLUMNS[0]}' is missing; expected one tensor for each of" in said
    paths = api.get("/docs/openapi.json").json()["paths"]
    example = paths["/v2/models/{model_name}/infer"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert infer(api, *example["inputs"]).json()["outputs"][0]["data"] == ["setosa"]


def test_outputs_have_the_type_of_the_graphs_output_not_of_its_input(serve: Serve, tmp_path: Path) -> None:
    write_bundle(tmp_path)
    # It takes float64 and computes in float32, like graphs that first centre large numbers.
    model = onnx.load(tmp_path / "model.onnx")
    for node in model.graph.node:
        node.input[:] = ["narrow" if name == "features" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["features"], ["narrow"], to=onnx.TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, tmp_path / "model.onnx")
    api = serve(Bundle(tmp_path, content_digest(tmp_path)).pin())
    until_ready(api)
    described = [output["datatype"] for output in api.get(MODEL).json()["outputs"]]
    given_types = [output["datatype"] for output in infer(api, features()).json()["outputs"]]
    assert described == given_types == ["BYTES", "FP32"]


def test_requests_are_counted_by_their_route(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin())
    until_ready(api)
    infer(api, features())
    infer(api, features(), path=f"{MODEL}/versions/7")
    infer(api, features(), path="/v2/models/made-up")
    counted = [
        sample(api, "serving_requests_total", route=route, status=status)
        for route, status in (
            ("/v2/models/{model_name}/infer", "200"),
            ("/v2/models/{model_name}/versions/{model_version}/infer", "200"),
            ("/v2/models/{model_name}/infer", "404"),
        )
    ]
    assert counted == [1, 1, 1]
    assert sample(api, "serving_predictions_total", **{"class": "virginica"}) == 2


bodies = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["features", *COLUMNS, "other"]),
                    "datatype": st.sampled_from(["FP64", "FP32", "FP16", "INT8", "UINT64", "BOOL", "BYTES", "x"]),
                    "shape": st.sampled_from([[1, 4], [4], [2, 4], [0, 4], [1], [1, 1], [1, 2, 2], [], [-1, 4]]),
                },
                optional={
                    "data": st.lists(st.floats(allow_nan=False) | st.integers() | st.booleans(), max_size=8)
                    | st.lists(st.lists(st.floats(-1, 1), max_size=4), max_size=2)
                    | st.text(max_size=2),
                    "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "x"]), st.integers(0, 40)),
                },
            ),
            max_size=5,
        ),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["prediction", "probabilities", "x"])})),
        "id": st.text(max_size=3) | st.integers(),
        "parameters": st.dictionaries(st.just("binary_data_output"), st.booleans() | st.integers()),
    },
)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(bodies, st.binary(max_size=64), st.booleans())
def test_no_body_ends_in_a_500(iris_api: httpx.Client, body: dict[str, Any], rest: bytes, told: bool) -> None:
    head = json.dumps(body).encode()
    headers = {"inference-header-content-length": str(len(head))} if told else {}
    response = iris_api.post(f"{MODEL}/infer", content=head + rest, headers=headers)
    if response.status_code != 200:
        error(response, 400)
