"""The process as an orchestrator sees it: on SIGTERM it finishes its requests and exits with 0, and its log is JSON."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from embedded.processes import LOOPBACK, NOBODY, Server, free_port
from embedded.servers import serving
from services.serving.tests.bundles import SETOSA, write_bundle
from tests.integration.serving_fixtures import Callers, alive, predict, served, wait_for
from tests.support.http2 import PartialCaller


@pytest.fixture(scope="module")
def pin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pinned")
    digest = write_bundle(folder)
    return {
        "MODEL_VERSION": "1",
        "MODEL_URI": folder.as_uri(),
        "MODEL_DIGEST": digest,
        "MLFLOW_TRACKING_URI": NOBODY,
    }


def ended(server: Server) -> bool:
    return server.exit_status() is not None


def test_an_answer_arrives_as_a_whole(pin: dict[str, str], tmp_path: Path) -> None:
    """Its head and body are one write: two would wake the caller twice, and take another system call."""
    body = b'{"features":[5.1,3.5,1.4,0.2]}'
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with (
        served(tmp_path, pin) as (server, _),
        socket.create_connection((LOOPBACK, httpx.URL(server.url).port or 80), timeout=30) as caller,
    ):
        for _ in range(50):
            caller.sendall(request)
            head, _, answer = caller.recv(65_536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert json.loads(answer)["prediction"] == "setosa"
        caller.sendall(b"HEAD /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, answer = caller.recv(65_536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert answer == b""


def test_sigterm_under_load_drops_nothing(pin: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, pin) as (server, client), Callers(server.url, count=8, pause=0) as callers:
        wait_for(lambda: len(callers.versions) > 200)
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: client.get("/health/ready").status_code == 503)
        answered = len(callers.versions)
        wait_for(lambda: len(callers.versions) > answered + 20)
        callers.stop()  # as a load balancer does after a failed probe
        assert callers.failures == []
        wait_for(lambda: ended(server))
        assert server.exit_status() == 0


def test_a_running_request_is_finished(pin: dict[str, str], tmp_path: Path) -> None:
    limits = {"MAX_BODY_BYTES": "100000000", "MAX_ROWS": "1000000", "SHUTDOWN_DRAIN_SECONDS": "0"}
    with served(tmp_path, {**pin, **limits}) as (server, client), ThreadPoolExecutor() as caller:
        body = b'{"instances":[' + b",".join([b"[5.1,3.5,1.4,0.2]"] * 200_000) + b"]}"
        arrived = threading.Event()

        def pieces() -> Iterator[bytes]:
            yield body[:-1]
            os.kill(server.pid, signal.SIGTERM)
            wait_for(lambda: not alive(client))
            arrived.set()
            yield body[-1:]

        answer = caller.submit(httpx.post, f"{server.url}/predict", content=pieces(), timeout=30.0).result()
        assert arrived.is_set()
        assert len(answer.json()["predictions"]) == 200_000
        wait_for(lambda: ended(server))
        assert server.exit_status() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_ends_with_0(pin: dict[str, str], tmp_path: Path, number: int) -> None:
    with served(tmp_path, {**pin, "SHUTDOWN_DRAIN_SECONDS": "0"}) as (server, _):
        os.kill(server.pid, number)
        wait_for(lambda: ended(server))
        assert server.exit_status() == 0


def test_a_process_that_waits_for_its_model_ends_with_0(pin: dict[str, str], tmp_path: Path) -> None:
    wrong = {**pin, "MODEL_DIGEST": "sha256:" + "0" * 64, "SHUTDOWN_DRAIN_SECONDS": "0"}
    with served(tmp_path, wrong, ready=False) as (server, _):
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: ended(server))
        assert server.exit_status() == 0


def test_the_log_is_json_and_names_requests_that_failed(pin: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, pin) as (server, client):
        assert predict(client).status_code == 200
        client.post("/predict", json={}, headers={"x-request-id": "mine-1"})
        client.get("/nowhere%0A2026%20forged")
    entries = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(entries[0])
    served_entry = next(entry for entry in entries if entry["message"] == "model served")
    assert served_entry["digest"] == pin["MODEL_DIGEST"]
    requests = [entry for entry in entries if entry["message"] == "request"]
    assert [(entry["status"], entry["request_id"] == "mine-1") for entry in requests] == [(422, True), (404, False)]


def test_the_access_log_names_every_request(pin: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, {**pin, "ACCESS_LOG": "true"}) as (server, client):
        predict(client, model_version="latest")
    assert any('"path":"/predict","status":200' in line for line in server.log.read_text().splitlines())


def test_metrics_have_a_separate_port(pin: dict[str, str], tmp_path: Path) -> None:
    port, key = free_port(), "some-key-0123456789"
    with served(tmp_path, {**pin, "METRICS_PORT": str(port), "API_KEYS": f"me:{key}"}) as (_, client):
        given = {"x-api-key": key}
        paths = ("/metrics", "/health", "/health/ready", "/model/info")
        here = {path: client.get(path, headers=given).status_code for path in paths}
        assert here == {"/metrics": 404, "/health": 404, "/health/ready": 200, "/model/info": 200}
        assert client.get("/metrics").status_code == 401
        with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", trust_env=False) as inside:
            there = {path: inside.get(path).status_code for path in paths}
            assert there == {"/metrics": 200, "/health": 200, "/health/ready": 200, "/model/info": 401}
            assert inside.get("/model/info", headers=given).status_code == 404
            assert "serving_requests_total" in inside.get("/metrics").text
        second = serving(tmp_path / "second", {**pin, "METRICS_PORT": str(port)})
        second.start()
        wait_for(lambda: ended(second))
        assert "HOST and METRICS_PORT cannot be used to listen on" in second.log.read_text()


def test_an_emptied_file_of_keys_lets_nobody_in(pin: dict[str, str], tmp_path: Path) -> None:
    """Kubernetes replaces a changed Secret in one step, by a symbolic link."""
    key = "some-key-0123456789"

    def hold(text: str) -> None:
        folder = tmp_path / f"secret-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "keys").write_text(text)
        (tmp_path / "next").symlink_to(folder)
        (tmp_path / "next").replace(tmp_path / "current")

    def keys() -> str:
        return next(line for line in client.get("/metrics").text.splitlines() if line.startswith("serving_api_keys "))

    hold(f"me:{key}\n")
    with served(tmp_path / "server", {**pin, "API_KEYS_FILE": str(tmp_path / "current/keys")}) as (server, client):
        client.headers["x-api-key"] = key
        assert (predict(client).status_code, keys()) == (200, "serving_api_keys 1.0")
        hold("")
        wait_for(lambda: keys() == "serving_api_keys 0.0")
        assert predict(client).status_code == 401
        assert "API_KEYS_FILE no longer holds keys, so all requests are refused" in server.log.read_text()
        hold(f"me:{key}\n")
        wait_for(lambda: predict(client).status_code == 200)


def test_an_address_of_the_other_family(pin: dict[str, str], tmp_path: Path) -> None:
    server = serving(tmp_path, {**pin, "HOST": "[::1]"})
    server.start()
    try:
        with httpx.Client(base_url=f"http://[::1]:{httpx.URL(server.url).port}", trust_env=False) as client:
            wait_for(lambda: alive(client))
    finally:
        server.stop()


def test_a_unix_socket_is_listened_on_as_well(pin: dict[str, str], tmp_path: Path) -> None:
    """The next process takes over the socket of a killed one, but not that of one that still runs."""
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with served(tmp_path, {**pin, "UNIX_SOCKET": str(path)}) as (_, client):
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(base_url="http://serving", transport=transport, trust_env=False) as local:
            assert predict(local).json()["prediction"] == predict(client).json()["prediction"]
            assert local.get("/health/ready").status_code == 200
        assert path.stat().st_mode & 0o777 == 0o660
        second = serving(tmp_path / "second", {**pin, "UNIX_SOCKET": str(path)})
        second.start()
        wait_for(lambda: ended(second))
        assert f"UNIX_SOCKET {path} cannot be used to listen on: Address already in use" in second.log.read_text()
    assert not path.exists()


def test_a_port_in_use_and_a_wrong_setting_end_it_with_a_reason(pin: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, pin) as (first, _):
        second = serving(tmp_path, pin, port=httpx.URL(first.url).port)
        second.start()
        wait_for(lambda: ended(second))
        assert second.exit_status() == 2
        assert "serving: HOST and PORT cannot be used to listen on: Address already in use" in second.log.read_text()
    third = serving(tmp_path / "third", {**pin, "MAX_ROWS": "many"})
    third.start()
    wait_for(lambda: ended(third))
    assert third.exit_status() == 2
    assert third.log.read_text() == "serving: MAX_ROWS is 'many', but takes a whole number of at least 1\n"


def test_calls_over_http_and_grpc_are_finished_at_the_same_time(pin: dict[str, str], tmp_path: Path) -> None:
    """If gRPC's grace period began after that of HTTP, the orchestrator would kill the process before its end."""
    port = free_port()
    settings = {**pin, "GRPC_PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "0", "SHUTDOWN_GRACE_SECONDS": "8"}
    body = json.dumps({"features": SETOSA}).encode()
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with ExitStack() as stack:
        server, client = stack.enter_context(served(tmp_path, settings))
        http = stack.enter_context(socket.create_connection((LOOPBACK, httpx.URL(server.url).port or 80), timeout=30))
        rpc = stack.enter_context(PartialCaller(LOOPBACK, port))
        http.sendall(head + body[:-1])
        call = rpc.call("/inference.GRPCInferenceService/ServerLive", b"\x0a\x00")
        rpc.exchange()
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: not alive(client))
        # While the request over HTTP is in progress, gRPC takes no new calls either.
        wait_for(lambda: not accepts(port), seconds=5)
        assert not ended(server)
        http.sendall(body[-1:])
        assert b"HTTP/1.1 200" in http.recv(65536)
        rpc.complete(call)
        rpc.exchange()
        assert b"grpc-status\x010" in call.answered
        wait_for(lambda: ended(server))
        assert server.exit_status() == 0


def accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
