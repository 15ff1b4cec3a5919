"""What clients expect of any HTTP server: HEAD, OPTIONS, CORS, gzip both ways. And the versions in answers."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.processes import free_port
from services.serving.tests.bundles import COLUMNS, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle, Serve, until_ready
from serving.api.cors import open_cors
from serving.environment import SettingsError, read
from serving.settings import Settings

ROW = {"features": SETOSA}
INFER = "/v2/models/iris-classifier/infer"
PAGES = ("/", "/docs", "/health", "/health/live", "/health/ready", "/metrics", "/model/info", "/v2", "/v2/health/ready")


@pytest.mark.parametrize("path", PAGES)
def test_head_is_get_without_the_body(iris_api: httpx.Client, path: str) -> None:
    got, head = iris_api.get(path), iris_api.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    assert head.headers.get("content-type") == got.headers.get("content-type")
    assert ("content-length" in head.headers) is ("content-length" in got.headers)


def test_the_root_leads_to_the_docs(iris_api: httpx.Client) -> None:
    assert iris_api.get("/", follow_redirects=True).headers["content-type"].startswith("text/html")


def test_a_prefix_that_a_proxy_leaves_before_paths_is_ignored(serve: Serve, iris: Bundle) -> None:
    api = serve({**iris.pin(), "PATH_PREFIX": "/models/iris"})
    until_ready(api)
    answers = [api.post(path, json=ROW).json()["prediction"] for path in ("/models/iris/predict", "/predict")]
    assert answers == ["setosa", "setosa"]
    for path in ("/models/iris", "/models/iris/"):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/models/iris/docs")
    assert api.get("/models/iris/openapi.json").json()["servers"] == [{"url": "/models/iris"}]
    assert "servers" not in api.get("/openapi.json").json()
    assert [api.get(path).status_code for path in ("/models", "/models/irises", "/models/iris/nothing")] == [404] * 3
    assert isinstance(api.get("/models/iris/v2/nothing").json()["error"], str)  # in the form of V2
    assert "/models/iris" not in api.get("/metrics").text


@pytest.mark.parametrize(
    ("said", "location"),
    [
        ("/iris", "/iris/docs"),
        ("/a/iris/", "/a/iris/docs"),
        ("//elsewhere.example", "docs"),
        ("iris", "docs"),
        ("", "docs"),
    ],
)
def test_callers_are_redirected_to_the_prefix_that_a_proxy_removed(
    iris_api: httpx.Client, said: str, location: str
) -> None:
    headers = {"x-forwarded-prefix": said}
    assert iris_api.get("/", headers=headers).headers["location"] == location
    servers = iris_api.get("/openapi.json", headers=headers).json().get("servers", [])
    assert servers == ([] if location == "docs" else [{"url": said.rstrip("/")}])


@pytest.mark.parametrize("prefix", ["iris", "/", "/iris/", "//iris", "/a b"])
def test_an_invalid_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="PATH_PREFIX"):
        read(Settings, {"PATH_PREFIX": prefix})


def test_options_names_the_methods_and_allows_no_origin_by_default(iris_api: httpx.Client) -> None:
    answer = iris_api.options("/predict", headers={"origin": "https://app.example.com"})
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "POST, OPTIONS", b"")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert iris_api.options("/nowhere").status_code == 404


def test_pages_of_allowed_origins_may_call_the_api(serve: Serve, iris: Bundle) -> None:
    key = "some-key-0123456789"
    api = serve(iris.pin(CORS_ORIGINS="https://app.example.com, http://localhost:3000", API_KEYS=f"page:{key}"))
    until_ready(api)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}
    for origin, allowed in (("https://app.example.com", True), ("http://localhost:3000", True), ("https://x.y", False)):
        before = api.options("/predict", headers={"origin": origin, **asked})
        assert before.status_code == 204
        assert before.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "x-api-key" in before.headers["access-control-allow-headers"]
        for headers, status in (({"x-api-key": key}, 200), ({}, 401)):
            answer = api.post("/predict", json=ROW, headers={"origin": origin, **headers})
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
            assert "origin" in answer.headers["vary"]


def test_any_origin_may_be_allowed_and_an_invalid_one_is_refused() -> None:
    cors = open_cors("*")
    assert cors
    assert (b"access-control-allow-origin", b"*") in cors.headers(b"null")
    assert open_cors(" ") is None
    for wrong in ("app.example.com", "https://app.example.com/path", "ftp://x", "https://"):
        with pytest.raises(SettingsError, match="CORS_ORIGINS names"):
            open_cors(wrong)


def test_bodies_may_be_compressed(iris_api: httpx.Client) -> None:
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": SETOSA}
    for path, body in (("/predict", ROW), (INFER, {"inputs": [tensor]})):
        content = gzip.compress(json.dumps(body).encode())
        for encoding in ("gzip", "GZIP", "x-gzip"):
            answer = iris_api.post(path, content=content, headers={"content-encoding": encoding})
            assert answer.status_code == 200, answer.text
        pieces = iter([content[:10], content[10:]])
        assert iris_api.post(path, content=pieces, headers={"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (gzip.compress(b" " * (1024 * 1024 + 1)), 413),
        (gzip.compress(b" " * 500_000_000, 1), 413),
        (gzip.compress(json.dumps(ROW).encode())[:-4], 400),
        (gzip.compress(json.dumps(ROW).encode()) + b"more", 400),
        (json.dumps(ROW).encode(), 400),
        (b"", 400),
    ],
    ids=["over", "bomb", "cut", "more", "plain", "empty"],
)
def test_bodies_that_do_not_inflate_within_bounds_are_refused(
    iris_api: httpx.Client, content: bytes, status: int
) -> None:
    assert len(content) < 1024 * 1024 * 3
    answer = iris_api.post("/predict", content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == status, answer.text


def test_large_answers_are_compressed_for_callers_that_accept_it(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(GZIP_ANSWER_BYTES="1000"))
    until_ready(api)
    many = {"instances": [SETOSA] * 100}
    for takes, packed in (
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ):
        answer = api.post("/predict", json=many, headers={"accept-encoding": takes})
        assert (answer.headers.get("content-encoding") == "gzip") is packed, takes
        assert len(answer.json()["predictions"]) == 100
    small = api.post("/predict", json=ROW, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers


def test_answers_name_the_release_and_also_the_number(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_RELEASE="v1.2.0"))
    until_ready(api)
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": SETOSA}
    for path, body in (("/predict", ROW), ("/predict", {"instances": [SETOSA]}), (INFER, {"inputs": [tensor]})):
        answer = api.post(path, json=body)
        assert (answer.json()["model_version"], answer.headers["x-model-version"]) == ("v1.2.0", "7")
    for name, status in (("v1.2.0", 200), ("7", 200), ("latest", 200), ("v1.2.1", 404)):
        assert api.post("/predict", json={**ROW, "model_version": name}).status_code == status
    assert api.get("/model/info").json()["release"] == "v1.2.0"
    assert 'model_version="7"' in api.get("/metrics").text


@pytest.mark.parametrize("release", ["1.2.0", "v1", "latest"])
def test_an_invalid_release_is_refused(release: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_RELEASE"):
        read(Settings, {"MODEL_VERSION": "1", "MODEL_RELEASE": release})


def test_a_release_belongs_to_a_pin() -> None:
    with pytest.raises(SettingsError, match="MODEL_RELEASE belongs to a pinned version"):
        read(Settings, {"MODEL_RELEASE": "v1.0.0"})


def test_nulls_in_v2_count_as_absent(iris_api: httpx.Client) -> None:
    nothing: dict[str, Any] = {"parameters": None}
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 4], "data": SETOSA, **nothing}
    body = {"id": None, "outputs": None, "inputs": [tensor], **nothing}
    answer = iris_api.post(INFER, json=body)
    assert answer.status_code == 200, answer.text
    assert "id" not in answer.json()
    named = {**body, "outputs": [{"name": "prediction", **nothing}]}
    assert [each["name"] for each in iris_api.post(INFER, json=named).json()["outputs"]] == ["prediction"]


def test_the_example_has_the_digits_that_it_was_given_with(serve: Serve, tmp_path: Path) -> None:
    write_bundle(tmp_path, column_type="float")
    row = [5.099999904632568, 3.5, 1.399999976158142, 0.20000000298023224]
    (tmp_path / "input_example.json").write_text(json.dumps({"columns": COLUMNS, "data": [row]}))
    from modelformat.digest import content_digest  # noqa: PLC0415

    api = serve(Bundle(tmp_path, content_digest(tmp_path)).pin())
    until_ready(api)
    assert api.get("/model/info").json()["input_example"]["features"] == SETOSA
    assert not re.search(r"\d\.\d{8}", json.dumps(api.get("/docs/openapi.json").json()["paths"]))


def test_metrics_and_health_can_have_a_separate_port() -> None:
    with pytest.raises(SettingsError, match="METRICS_PORT is the same as PORT"):
        read(Settings, {"PORT": "8080", "METRICS_PORT": "8080"})
    with pytest.raises(SettingsError, match="GRPC_PORT is the same as PORT"):
        read(Settings, {"PORT": "8080", "GRPC_PORT": "8080"})
    with pytest.raises(SettingsError, match="GRPC_PORT is the same as METRICS_PORT"):
        read(Settings, {"METRICS_PORT": "9090", "GRPC_PORT": "9090"})
    assert read(Settings, {"METRICS_PORT": str(free_port())}).metrics_port
