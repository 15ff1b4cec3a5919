"""A real serving process sends spans to a real OTLP receiver: their traces and attributes, and outages of the
receiver."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from embedded.processes import LOOPBACK, Server
from services.serving.tests.bundles import SETOSA, write_bundle
from tests.integration.collector import Collector, Span
from tests.integration.serving_fixtures import Model, predict, served, wait_for

QUICK = {"TRACING": "true", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


@pytest.fixture
def pinned(tmp_path: Path) -> dict[str, str]:
    """Return settings that serve version 7 from a folder."""
    folder = tmp_path / "bundle"
    return {"MODEL_VERSION": "7", "MODEL_URI": folder.as_uri(), "MODEL_DIGEST": write_bundle(folder)}


@contextmanager
def traced(
    collector: Collector, folder: Path, settings: dict[str, str], **more: str
) -> Iterator[tuple[Server, httpx.Client]]:
    with served(folder, {**QUICK, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **settings, **more}) as started:
        yield started


def caller(*, sampled: bool = True) -> tuple[str, str, dict[str, str]]:
    """Return the ids of a trace and of a span in it, and the header for both."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-{'01' if sampled else '00'}"}


def test_a_request_is_followed_to_the_registry_and_the_store(mlflow_proxied: Server, tmp_path: Path) -> None:
    model = Model(mlflow_proxied.url, tmp_path)
    first, second = model.register(), model.register(alias="production", strength=0.1)
    trace, span, headers = caller()
    asked = {"features": SETOSA, "model_version": first.number}
    with Collector() as collector, traced(collector, tmp_path, model.settings()) as (_, client):
        answer = client.post("/predict", json=asked, headers=headers)
        assert answer.json()["model_version"] == first.number
        wait_for(lambda: "POST /predict" in collector.of(trace))
        spans = collector.of(trace)
        start = next(found for found in collector.spans if found.name == "load model" and found.trace != trace)
        wait_for(lambda: "find the requested model" in collector.of(start.trace))
        background = collector.of(start.trace)

    request, load = spans["POST /predict"], spans["load model"]
    assert request.server
    assert request.parent == span
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
        "model.name": model.name,
        "model.version": first.number,
        "request.id": answer.headers["x-request-id"],
    }
    assert request.resource["service.name"] == "serving"
    assert request.resource["model.name"] == model.name
    assert spans["registry model-versions/get"].parent == request.id
    assert spans["registry model-versions/get"].attributes["registry.version"] == first.number
    assert spans["registry model-versions/get-download-uri"].parent == request.id
    assert load.parent == request.id
    assert load.attributes["model.version"] == first.number
    assert spans["download model"].parent == load.id

    # Background work has a separate trace.
    root = background["find the requested model"]
    assert root.parent == ""
    assert background["registry registered-models/alias"].parent == root.id
    assert background["load model"].attributes["model.version"] == second.number


def test_failures_are_recorded_on_the_span(pinned: dict[str, str], tmp_path: Path) -> None:
    found: dict[str, Span] = {}
    with Collector() as collector, traced(collector, tmp_path, pinned) as (_, client):
        body = {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 4], "data": SETOSA}]}
        assert client.post("/v2/models/iris-classifier/infer", json=body).status_code == 200
        assert client.post("/predict", json={"features": "none"}).status_code == 422
        assert client.get("/no/such/path").status_code == 404
        client.get("/health/ready")
        client.get("/metrics")
        names = {"POST /v2/models/{model_name}/infer", "POST /predict", "GET"}
        wait_for(lambda: names <= {span.name for span in collector.spans})
        found = {span.name: span for span in collector.spans}
        paths = {span.attributes["url.path"] for span in collector.spans if span.server}
    infer = found["POST /v2/models/{model_name}/infer"]
    assert (infer.parent, infer.attributes["model.version"], infer.attributes["request.rows"]) == ("", "7", 1)
    assert found["POST /predict"].attributes["http.response.status_code"] == 422
    assert found["GET"].attributes["http.response.status_code"] == 404
    assert not any(span.failed for span in found.values())  # an error of the caller is not an error of the server
    assert not any(str(path).startswith(("/health", "/metrics")) for path in paths)


def test_a_failed_start_is_a_failed_span(pinned: dict[str, str], tmp_path: Path) -> None:
    wrong = {**pinned, "MODEL_DIGEST": "sha256:" + "0" * 64, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    with Collector() as collector:
        wrong["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{collector.url}/v1/traces"
        with served(tmp_path, {**QUICK, **wrong}, ready=False) as (_, client):
            wait_for(lambda: any(span.name == "find the requested model" for span in collector.spans))
            assert client.get("/health/ready").status_code == 503
    failed = {span.name for span in collector.spans if span.failed}
    assert {"load model", "find the requested model"} <= failed


def test_the_caller_decides_about_sampling_else_the_ratio(pinned: dict[str, str], tmp_path: Path) -> None:
    """The ratio of 0 samples no request without a trace, but those that the caller samples are sent."""
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with Collector() as collector, traced(collector, tmp_path, pinned, **ratio) as (_, client):
        no, _, unsampled = caller(sampled=False)
        yes, _, sampled = caller()
        assert predict(client).status_code == 200
        assert client.post("/predict", json={"features": SETOSA}, headers=unsampled).status_code == 200
        assert client.post("/predict", json={"features": SETOSA}, headers={"traceparent": "00-nonsense"}).is_success
        assert client.post("/predict", json={"features": SETOSA}, headers=sampled).status_code == 200
        wait_for(lambda: yes in {span.trace for span in collector.spans})
    assert {span.trace for span in collector.spans} == {yes}
    assert no != yes


def test_names_come_from_the_standard_variables(pinned: dict[str, str], tmp_path: Path) -> None:
    named = {"OTEL_SERVICE_NAME": "iris", "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=models,model.name=other"}
    with Collector() as collector, traced(collector, tmp_path, pinned, **named) as (_, client):
        predict(client)
        wait_for(lambda: bool(collector.spans))
    resource = collector.spans[0].resource
    assert (resource["service.name"], resource["k8s.namespace.name"], resource["model.name"]) == (
        "iris",
        "models",
        "other",
    )


def test_an_outage_of_the_collector_loses_spans_and_nothing_else(pinned: dict[str, str], tmp_path: Path) -> None:
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    collector = Collector()
    with traced(collector, tmp_path, pinned, **small) as (server, client):
        wait_for(lambda: predict(client).status_code == 200 and "traces are lost" in server.log.read_text())
        for _ in range(200):
            assert predict(client).status_code == 200
        with collector:
            wait_for(lambda: predict(client).status_code == 200 and bool(collector.spans))
            wait_for(lambda: "accepts traces again" in server.log.read_text())
        for _ in range(200):
            assert predict(client).status_code == 200
    log = server.log.read_text()
    assert log.count("traces are lost") <= 2
    assert "Traceback" not in log


def test_a_collector_that_never_answers_does_not_delay_a_stop(pinned: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        endpoint = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        slow = {**pinned, **QUICK, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        with served(tmp_path, slow) as (server, client):
            for _ in range(50):
                assert predict(client).status_code == 200
            connection, _ = silent.accept()  # The process has connected to send spans.
            with connection:
                assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_requests_on_one_connection_have_separate_traces(pinned: dict[str, str], tmp_path: Path) -> None:
    """The second request must not continue the trace of the first one."""
    body = b'{"features":[5.1,3.5,1.4,0.2]}'
    request = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with Collector() as collector, traced(collector, tmp_path, pinned) as (_, client):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
            connection.sendall(request * 3)
            found = b""
            while found.count(b"HTTP/1.1 200") < 3:
                found += connection.recv(65536)
        wait_for(lambda: sum(span.name == "POST /predict" for span in collector.spans) == 3)
        spans = [span for span in collector.spans if span.name == "POST /predict"]
    assert [span.parent for span in spans] == [""] * 3
    assert len({span.trace for span in spans}) == 3
