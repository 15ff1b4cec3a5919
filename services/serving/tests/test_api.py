"""The API over HTTP: its answers to good and bad requests, none of which ends in a 500."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.serving.tests.bundles import CLASSES, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, until_ready, wait_for


def predict(api: httpx.Client, body: Any, **options: Any) -> httpx.Response:
    return api.post("/predict", json=body, **options)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["detail"]
    assert found["request_id"] == response.headers["x-request-id"]
    return found


def test_one_row(iris_api: httpx.Client) -> None:
    answer = predict(iris_api, {"features": SETOSA, "model_version": "latest"}).json()
    assert list(answer) == ["prediction", "probability", "model_version", "latency_ms"]
    assert answer["prediction"] == "setosa"
    assert 0.9 < answer["probability"] < 1
    assert answer["model_version"] == "7"
    assert 0 <= answer["latency_ms"] < 5000


def test_what_curl_sends(iris_api: httpx.Client) -> None:
    body = '{"features":[5.1,3.5,1.4,0.2],"model_version":"latest"}'
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert iris_api.post("/predict", content=body, headers=headers).json()["prediction"] == "setosa"


def test_many_rows_in_their_order(iris_api: httpx.Client) -> None:
    rows = [SETOSA, [6.7, 3.0, 5.2, 2.3], SETOSA]
    answer = predict(iris_api, {"instances": rows}).json()
    assert [one["prediction"] for one in answer["predictions"]] == ["setosa", "virginica", "setosa"]
    assert answer["model_version"] == "7"


@pytest.mark.parametrize("version", ["latest", "7"])
def test_the_pin_by_every_name(iris_api: httpx.Client, version: Any) -> None:
    assert predict(iris_api, {"features": SETOSA, "model_version": version}).json()["model_version"] == "7"


@pytest.mark.parametrize("version", ["8", "production", "v1.0.0", "LATEST"])
def test_another_version_than_the_pin_is_not_found(iris_api: httpx.Client, version: Any) -> None:
    found = problem(predict(iris_api, {"features": SETOSA, "model_version": version}), 404)
    assert "pinned to version 7" in found["detail"]


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({}, "features", "expected either `features` (one row) or `instances` (many)"),
        ({"features": SETOSA, "instances": [SETOSA]}, "features", "expected either"),
        ({"features": []}, "features", "expected 4 values"),
        ({"features": [1, 2, 3]}, "features", "expected 4 values"),
        ({"features": [1, 2, None, 4]}, "features[2]", "expected a number, got null"),
        ({"features": [1, "2", 3, 4]}, "features[1]", "expected a number, got a string"),
        ({"features": [1, 2, [3], 4]}, "features[2]", "expected a number, a string, a boolean or null, got an array"),
        ({"features": [1, 2, True, 4]}, "features[2]", "expected a number, got a boolean"),
        ({"features": "1,2,3,4"}, "features", "expected an array or an object, got a string"),
        ({"features": None}, "features", "expected an array or an object, got null"),
        ({"features": [1e39, 2, 3, 4]}, "features[0]", "expected a number between"),
        ({"instances": []}, "instances", "expected at least one row"),
        ({"instances": [SETOSA, SETOSA[:3]]}, "instances[1]", "expected 4 values"),
        ({"instances": SETOSA}, "instances[0]", "expected an array or an object, got a number"),
        ({"features": SETOSA, "Model_version": "1"}, "Model_version", "unknown field"),
        ({"features": SETOSA, "model_version": None}, "model_version", "expected a string, got null"),
        ({"features": SETOSA, "model_version": ""}, "model_version", "expected a string"),
        ({"features": SETOSA, "model_version": "a b"}, "model_version", "expected a string"),
        ({"features": SETOSA, "model_version": 7}, "model_version", "expected a string, got an integer"),
        ([SETOSA], "body", "expected an object, got an array"),
        ("x", "body", "expected an object, got a string"),
    ],
)
def test_wrong_contents_are_named_by_field(iris_api: httpx.Client, body: Any, field: str, reason: str) -> None:
    [error] = problem(predict(iris_api, body), 422)["errors"]
    assert error["field"] == field
    assert reason in error["reason"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"features=1", b'{"features":[NaN]}', b"\xff\xfe", b'{"features":[1,2,3,4]} x'],
)
def test_a_body_that_is_not_json_is_400(iris_api: httpx.Client, content: bytes) -> None:
    assert "not JSON" in problem(iris_api.post("/predict", content=content), 400)["detail"]


def not_json(value: str) -> str:
    return f'{{"features":{value}}}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (not_json("[NaN]").encode(), "NaN (byte 13) is not in JSON: send null for a missing value"),
        (not_json("[1, -Infinity]").encode(), "-Infinity (byte 16) is not in JSON"),
        (not_json("Infinity").encode(), "Infinity (byte 12) is not in JSON"),
        (not_json("[N]").encode(), "invalid character"),
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark: send UTF-8 without one"),
        ("{}".encode("utf-16"), "it begins with a byte order mark: send UTF-8 without one"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/iris-classifier/infer"])
def test_what_makes_it_no_json_is_named(iris_api: httpx.Client, content: bytes, words: str, path: str) -> None:
    answer = iris_api.post(path, content=content)
    assert answer.status_code == 400
    if path == "/invocations" and b"NaN" in content:
        # MLflow's client writes NaN for null.
        assert "exactly one of" in answer.text
    else:
        assert words in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b'{"features":[1e999,1,1,1]}',
        b'{"features":[%s,1,1,1]}' % (b"9" * 5000),
        b'{"features":' + b"[" * 50_000,
        b'{"model_version":"\xed\xa0\x80","features":[1,1,1,1]}',
        b'{"features":[1,1,1,1],"model_version":%s}' % (b"9" * 400),
    ],
)
def test_extremes_of_json_are_the_callers_fault(iris_api: httpx.Client, content: bytes) -> None:
    assert iris_api.post("/predict", content=content).status_code in (400, 422)


def test_other_methods_media_types_and_encodings(iris_api: httpx.Client) -> None:
    assert iris_api.get("/predict").headers["allow"] == "POST, OPTIONS"
    problem(iris_api.get("/predict"), 405)
    problem(iris_api.post("/predict", content=b"x", headers={"content-type": "text/plain"}), 415)
    problem(iris_api.post("/predict", content=b"{}", headers={"content-encoding": "br"}), 415)
    charset = {"content-type": "application/json; charset=utf-8"}
    assert iris_api.post("/predict", content=json.dumps({"features": SETOSA}), headers=charset).status_code == 200


def test_too_much(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MAX_BODY_BYTES="500", MAX_ROWS="3"))
    until_ready(api)
    assert "3" in problem(predict(api, {"instances": [SETOSA] * 4}), 413)["detail"]
    problem(api.post("/predict", content=b" " * 501), 413)

    def chunks() -> Any:
        for _ in range(100):
            yield b" " * 100

    problem(api.post("/predict", content=chunks()), 413)
    assert predict(api, {"instances": [SETOSA] * 3}).status_code == 200


def test_a_body_in_pieces(iris_api: httpx.Client) -> None:
    pieces = iter([b'{"features":', b"[5.1,3.5,", b"1.4,0.2]}"])
    assert iris_api.post("/predict", content=pieces).json()["prediction"] == "setosa"


@pytest.mark.slow
def test_large_batches_are_computed_in_a_thread(iris_api: httpx.Client, serve: Serve, diabetes: Bundle) -> None:
    answer = predict(iris_api, {"instances": [SETOSA] * 1000}).json()
    assert {one["prediction"] for one in answer["predictions"]} == {"setosa"}
    api = serve(diabetes.pin(RUNTIME="sklearn", MAX_ROWS="20000", MAX_BODY_BYTES="10000000"))
    until_ready(api)
    assert len(predict(api, {"instances": [[0.01] * 10] * 20_000}).json()["predictions"]) == 20_000


def test_regression_has_no_probability(serve: Serve, diabetes: Bundle) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    answer = predict(api, {"features": [0.01] * 10}).json()
    assert 50 < answer["prediction"] < 300
    assert answer["probability"] is None
    info = api.get("/model/info").json()
    assert (info["task"], info["classes"], info["target"]) == ("regression", [], "progression")


def test_values_that_are_too_large_for_the_model_have_no_answer(serve: Serve, tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    steep = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        rows * 1e-12, [CLASSES[label] for label in labels]
    )
    api = serve(Bundle(tmp_path, write_bundle(tmp_path, estimator=steep)).pin())
    until_ready(api)
    found = problem(predict(api, {"instances": [[1e-12] * 4, [1e30, -1e30, 1e30, -1e30]]}), 422)
    [error] = found["errors"]
    assert error["field"] == "instances[1]"
    assert "no finite answer" in error["reason"]


def test_model_info_and_its_example(iris_api: httpx.Client, iris: Bundle) -> None:
    info = iris_api.get("/model/info").json()
    assert (info["name"], info["version"], info["digest"]) == ("iris-classifier", "7", iris.digest)
    assert (info["mode"], info["stage"], info["runtime"], info["task"]) == ("pin", None, "onnx", "classification")
    assert info["classes"] == CLASSES
    assert len(info["inputs"]) == 4
    assert info["loaded_versions"] == ["7"]
    assert predict(iris_api, info["input_example"]).json()["prediction"] == "setosa"


def test_before_it_is_ready_everything_but_liveness_is_503(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_DIGEST="sha256:" + "0" * 64))
    assert api.get("/health/live").json() == {"status": "live"}
    wait_for(lambda: iris.digest.partition(":")[2] in api.get("/health").json()["problem"])
    for response in (api.get("/health/ready"), api.get("/model/info"), predict(api, {"features": SETOSA})):
        assert "Model 'iris-classifier' is not loaded yet" in problem(response, 503)["detail"]
        assert int(response.headers["retry-after"]) >= 1
    assert api.get("/health").status_code == 503
    health = api.get("/health").json()
    assert (health["live"], health["ready"], health["model_version"]) == (True, False, None)
    assert health["models"] == [
        {"name": "iris-classifier", "version": None, "digest": None, "problem": health["problem"]}
    ]
    assert "serving_ready 0.0" in api.get("/metrics").text
    loads = [line for line in api.get("/metrics").text.splitlines() if line.startswith("serving_model_load_failures")]
    assert float(loads[0].split()[1]) >= 1


def test_unknown_paths_and_methods_are_problems(iris_api: httpx.Client) -> None:
    assert "/docs" in problem(iris_api.get("/nowhere"), 404)["detail"]
    response = iris_api.delete("/health")
    problem(response, 405)
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize(("given_id", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 129, False), ("", False)])
def test_harmless_request_ids_are_kept(iris_api: httpx.Client, given_id: str, kept: bool) -> None:
    response = predict(iris_api, {"features": SETOSA}, headers={"x-request-id": given_id})
    found = response.headers["x-request-id"]
    assert (found == given_id) is kept
    assert found


def test_request_ids_differ(iris_api: httpx.Client) -> None:
    assert len({iris_api.get("/health/live").headers["x-request-id"] for _ in range(20)}) == 20


def sample(api: httpx.Client, name: str, /, **labels: str) -> float:
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return float(found.value)
    return 0.0


def test_metrics_count_what_happens(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin())
    until_ready(api)
    predict(api, {"instances": [SETOSA] * 5})
    predict(api, {"features": []})
    api.get("/made-up/path")
    assert sample(api, "serving_requests_total", route="/predict", method="POST", status="200") == 1
    assert sample(api, "serving_requests_total", route="/predict", method="POST", status="422") == 1
    assert sample(api, "serving_requests_total", route="unmatched", method="GET", status="404") == 1
    assert sample(api, "serving_predictions_total", model_name="iris-classifier", model_version="7") == 5
    assert sample(api, "serving_predictions_total", **{"class": "setosa"}) == 5
    assert sample(api, "serving_request_duration_seconds_count", route="/predict") == 2
    assert sample(api, "serving_inference_seconds_count", runtime="onnx") == 1
    assert sample(api, "serving_model_info", version="7", digest=iris.digest, runtime="onnx") == 1
    assert sample(api, "serving_requests_in_flight") == 1
    assert sample(api, "serving_ready") == 1
    assert sample(api, "process_resident_memory_bytes") > 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
bodies = (
    st.binary(max_size=100)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {}, optional={"features": json_values, "instances": json_values, "model_version": json_values}
    ).map(lambda value: json.dumps(value).encode())
    | st.lists(st.floats(width=32) | st.integers(), min_size=4, max_size=4).map(
        lambda row: json.dumps({"features": row}).encode()
    )
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(bodies)
def test_no_body_ends_in_a_500(iris_api: httpx.Client, body: bytes) -> None:
    response = iris_api.post("/predict", content=body)
    if response.status_code == 200:
        assert response.json()["model_version"] == "7"
    else:
        assert problem(response, response.status_code)["status"] in (400, 404, 422)


def test_the_docs_page_needs_no_other_server(iris_api: httpx.Client) -> None:
    page = iris_api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text
