"""Callers that misbehave delay only themselves, and cost a bounded amount of memory."""

import json
import re
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from embedded.processes import LOOPBACK
from services.serving.tests.bundles import SETOSA
from tests.faults.conftest import Note, Target, others_are_served, target
from tests.faults.matrix import fault
from tests.integration.serving_fixtures import wait_for

BODY = json.dumps({"features": SETOSA}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
REQUEST = HEAD + b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)
MOST_MB = 60


def closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed the connection. Data that it sent before is dropped."""
    connection.settimeout(0.001)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def answer(connection: socket.socket) -> bytes:
    """Return everything that the other side sends until it closes the connection."""
    connection.settimeout(30)
    parts = []
    try:
        while data := connection.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)


class Flood:
    """A thread that keeps as many connections open as it can, and sends nothing or half a head on each."""

    def __init__(self, started: Target, count: int) -> None:
        self.reopened = 0
        self._started = started
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connections = [self._started.connect() for _ in range(self._count)]
        while not self._stop.is_set():
            for index, connection in enumerate(connections):
                if closed(connection):
                    connection.close()
                    connections[index] = self._started.connect()
                    connections[index].sendall(HEAD[: 20 * (index % 2)])
                    self.reopened += 1
        for connection in connections:
            connection.close()


@fault("300 heads that come a byte at a time and never end (slow-loris)", "each is closed 10 s after its first byte")
def test_slow_heads(plain: Target, note: Note) -> None:
    with ExitStack() as stack, others_are_served(plain, note):
        connections = [stack.enter_context(plain.connect()) for _ in range(300)]
        open_still, sent = connections, 0
        start = time.monotonic()
        while open_still:
            assert time.monotonic() - start < 40
            for connection in open_still:
                with suppress(OSError):
                    connection.send(HEAD[sent % len(HEAD) :][:1])
            sent += 1
            time.sleep(0.2)
            open_still = [connection for connection in open_still if not closed(connection)]
        note("closed after s", round(time.monotonic() - start))


@fault("300 bodies of which one byte never comes", "408 after 10 s")
def test_slow_bodies(plain: Target, note: Note) -> None:
    with ExitStack() as stack, others_are_served(plain, note):
        connections = [stack.enter_context(plain.connect()) for _ in range(300)]
        for connection in connections:
            connection.sendall(HEAD + b"content-length: %d\r\n\r\n%s" % (len(BODY) + 1, BODY))
        assert {answer(connection)[:12] for connection in connections} == {b"HTTP/1.1 408"}


@fault("300 heads without their bodies", "each is closed after 20 s")
def test_missing_bodies(plain: Target, note: Note) -> None:
    with ExitStack() as stack, others_are_served(plain, note):
        connections = [stack.enter_context(plain.connect()) for _ in range(300)]
        for connection in connections:
            connection.sendall(HEAD + b"content-length: 10\r\n\r\n")
        assert {answer(connection) for connection in connections} == {b""}


@fault("1,000 connections that send nothing", f"held for `KEEP_ALIVE_SECONDS`, at most {MOST_MB} MB more")
def test_idle_connections(pinned: dict[str, str], tmp_path: Path, note: Note) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "KEEP_ALIVE_SECONDS": "5"}))
        before = started.resident_mb()
        with others_are_served(started, note):
            connections = [stack.enter_context(started.connect()) for _ in range(1000)]
            wait_for(lambda: started.client.get("/health/live").status_code == 200)
            more = started.resident_mb() - before
            wait_for(lambda: all(map(closed, connections)))
        note("MB more", round(more))
        assert more < MOST_MB


@fault(
    "more connections than `MAX_CONNECTIONS`, none of them idle",
    "503 for those, when they send a request or have sent nothing for a second; the first are served",
)
def test_too_many_connections(pinned: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_CONNECTIONS": "2"}))
        started.client.close()
        busy = [stack.enter_context(started.connect()) for _ in range(2)]
        for connection in busy:
            connection.sendall(REQUEST[:-1])
        silent = [stack.enter_context(started.connect()) for _ in range(40)]
        late = stack.enter_context(started.connect())
        late.sendall(REQUEST)
        assert answer(late).startswith(b"HTTP/1.1 503")
        wait_for(lambda: all(map(closed, silent)))
        for connection in busy:
            connection.sendall(REQUEST[-1:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@fault(
    "all of `MAX_CONNECTIONS` held by connections that send nothing, half a head, or a head without its body",
    "a caller that sends a request replaces the connection that was silent longest",
)
@pytest.mark.parametrize(
    "said", [b"", HEAD[:20], HEAD + b"content-length: 10\r\n\r\n"], ids=["nothing", "half", "head"]
)
def test_silent_connections_make_room(pinned: dict[str, str], tmp_path: Path, said: bytes) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_CONNECTIONS": "20"}))
        silent = [stack.enter_context(started.connect()) for _ in range(19)]
        for connection in silent:
            connection.sendall(said)
        time.sleep(2.2 if said.endswith(b"\r\n\r\n") else 0.2)
        for _ in range(5):
            late = stack.enter_context(started.connect())
            late.sendall(REQUEST)
            assert late.recv(65536).startswith(b"HTTP/1.1 200")
        assert sum(map(closed, silent)) == 4


@fault(
    "10 times as many connections as `MAX_CONNECTIONS`, opened again as soon as they are closed",
    "probes and scrapes are answered; so are predictions, or they get 503",
)
def test_probes_of_a_crowded_process(pinned: dict[str, str], tmp_path: Path, note: Note) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_CONNECTIONS": "20"}))
        flood = stack.enter_context(Flood(started, 200))
        wait_for(lambda: flood.reopened > 200)
        statuses = []
        for path in ("/health/live", "/health/ready", "/v2/health/ready", "/metrics") * 25:
            with started.connect() as probe:
                probe.sendall(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
                assert answer(probe).startswith(b"HTTP/1.1 200")
            with started.connect() as late:
                late.sendall(REQUEST)
                statuses.append(late.recv(65536)[:12])
        # The first callers replaced all silent connections. Later ones get the places that those have left.
        assert b"HTTP/1.1 200" in statuses[50:]
        assert set(statuses) <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert flood.running
        note("connections of the flood", flood.reopened)


@fault(
    "40 MB of trailers behind a chunked body, as many lines or as one",
    f"431 beyond 64 KB, and the connection is closed; at most {MOST_MB} MB more",
)
@pytest.mark.parametrize("piece", [b"x-trailer: %s\r\n" % (b"y" * 86), b"y" * 100], ids=["lines", "line"])
def test_trailers(plain: Target, note: Note, piece: bytes) -> None:
    before = plain.resident_mb()
    with others_are_served(plain, note), plain.connect() as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nx: " % (len(BODY), BODY))
        with suppress(OSError):
            for _ in range(400):
                connection.sendall(piece * 1000)
        assert b"HTTP/1.1 431" in answer(connection)
        more = plain.resident_mb() - before
    note("MB more", round(more))
    assert more < MOST_MB


@fault("a chunk extension without end", "431 beyond 64 KB, and the connection is closed")
def test_chunk_extensions(plain: Target, note: Note) -> None:
    with others_are_served(plain, note), plain.connect() as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n5;")
        with suppress(OSError):
            for _ in range(400):
                connection.sendall(b"e" * 100_000)
        assert answer(connection).startswith(b"HTTP/1.1 431")


@fault("a head without end (1 MB of header lines)", "431 beyond 64 KB, and the connection is closed")
def test_header_flood(plain: Target, note: Note) -> None:
    with others_are_served(plain, note), plain.connect() as connection:
        connection.sendall(HEAD)
        with suppress(OSError):
            for index in range(10_000):
                connection.sendall(b"x-%d: %s\r\n" % (index, b"y" * 90))
        found = answer(connection)
        assert found == b"" or found.startswith(b"HTTP/1.1 431")
        assert closed(connection)


@fault("JSON nested 500,000 deep", "400 or 422")
@pytest.mark.parametrize("path", ["/predict", "/v2/models/iris-classifier/infer"])
def test_deep_json(plain: Target, note: Note, path: str) -> None:
    with others_are_served(plain, note):
        for content in (b"[" * 500_000, b'{"features":' * 80_000, b'{"inputs":[{"data":' + b"[" * 500_000):
            assert plain.client.post(path, content=content).status_code in (400, 422)


@fault("bodies at the limit, over it, of no length, or longer than declared", "200, 413, 413, 400")
def test_body_limits(plain: Target, note: Note) -> None:
    limit = 1024 * 1024
    exact = BODY + b" " * (limit - len(BODY))

    with others_are_served(plain, note):
        assert plain.client.post("/predict", content=exact).status_code == 200
        assert plain.client.post("/predict", content=exact + b" ").status_code == 413
        with plain.connect() as connection:
            connection.sendall(HEAD + b"content-length: 99999999999\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 413")
        with plain.connect() as connection:
            connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            with suppress(OSError):
                for _ in range(20):
                    connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            assert answer(connection)[:12] in (b"HTTP/1.1 413", b"")
        with plain.connect() as connection:
            connection.sendall(REQUEST + b"more than was said\r\n\r\n")
            assert b"HTTP/1.1 400" in answer(connection)


@fault("bytes that are not HTTP, such as a TLS greeting", "400, and the connection is closed")
@pytest.mark.parametrize("content", [b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\x00" * 1000, b"\r\n\r\nhello\r\n\r\n"])
def test_other_protocols(plain: Target, note: Note, content: bytes) -> None:
    with others_are_served(plain, note), plain.connect() as connection:
        connection.sendall(content)
        assert answer(connection).startswith(b"HTTP/1.1 400")


@fault("200 requests in one write, without waiting for answers (pipelining)", "200 answers, in order")
def test_pipelining(plain: Target, note: Note) -> None:
    with others_are_served(plain, note), plain.connect() as connection:
        names = [b"id-%d" % index for index in range(200)]
        connection.sendall(b"".join(REQUEST.replace(b"host: x", b"host: x\r\nx-request-id: " + name) for name in names))
        found = b""
        while found.count(b"x-request-id: ") < 200:
            data = connection.recv(65536)
            assert data
            found += data
        ids = [part.split(b"\r\n")[0] for part in found.split(b"x-request-id: ")[1:]]
        assert ids == names


@fault("200 callers that never read their answers", f"only they wait; at most {MOST_MB} MB more")
def test_answers_that_nobody_reads(pinned: dict[str, str], tmp_path: Path, note: Note) -> None:
    body = json.dumps({"instances": [SETOSA] * 1000}).encode()
    request = HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    with ExitStack() as stack:
        # If the machine is busy, so many rows take too long, and some requests would be refused with the default.
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_WAITING_SECONDS": "30"}))
        before = started.resident_mb()
        stack.enter_context(others_are_served(started, note))
        for _ in range(200):
            connection = stack.enter_context(started.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request)
        answered = 'serving_requests_total{method="POST",route="/predict",status="200"}'
        wait_for(lambda: started.count(answered) > 200)
        more = started.resident_mb() - before
    note("MB more", round(more))
    assert more < MOST_MB


@fault(
    "10 connections with 300 requests each in one write, and no answer read",
    "only they wait: no other caller is refused where 16 may wait",
)
@pytest.mark.parametrize("asked", [b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", REQUEST], ids=["metrics", "predict"])
def test_pipelined_requests_whose_answers_nobody_reads(
    pinned: dict[str, str], tmp_path: Path, note: Note, asked: bytes
) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_WAITING_REQUESTS": "16"}))
        before = started.resident_mb()
        for _ in range(10):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((LOOPBACK, httpx.URL(started.server.url).port))
            connection.sendall(asked * 300)
        wait_for(lambda: started.count("serving_requests_in_flight") <= 2)
        with others_are_served(started, note, least=200):
            pass
        more = started.resident_mb() - before
        note("MB more", round(more))
        assert more < MOST_MB


@fault(
    "20,000 requests at once on one connection",
    "as many are answered as may wait in line, then the connection is closed",
)
def test_pipelining_without_end(plain: Target, note: Note) -> None:
    before = plain.resident_mb()
    with others_are_served(plain, note), plain.connect() as connection:
        thread = threading.Thread(target=_send, args=(connection, b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n" * 20_000))
        thread.start()
        found = answer(connection)
        thread.join()
    more = plain.resident_mb() - before
    note("answered", found.count(b"HTTP/1.1 200"))
    note("MB more", round(more))
    assert found.count(b"HTTP/1.1 200") >= 256
    assert more < MOST_MB


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


@fault("a bad request behind a good one, in one write", "200, 400, in this order")
def test_a_bad_request_behind_a_good_one(plain: Target, note: Note) -> None:
    with others_are_served(plain, note), plain.connect() as connection:
        connection.sendall(REQUEST + b"no request at all\r\n\r\n")
        found = answer(connection)
    assert [found[at : at + 12] for at in (0, found.rindex(b"HTTP/1.1"))] == [b"HTTP/1.1 200", b"HTTP/1.1 400"]


@fault("callers that disconnect in the middle of a request or before the answer", "counted as 499; nothing in the log")
def test_hang_ups(plain: Target, note: Note) -> None:
    with others_are_served(plain, note):
        for index in range(200):
            connection = plain.connect()
            connection.sendall(REQUEST[: 40 + index % (len(REQUEST) - 40)])
            if index % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    assert "Traceback" not in plain.server.log.read_text()
    assert '"level":"error"' not in plain.server.log.read_text()


@fault(
    "CONNECT, which asks for a tunnel, alone and behind a request on the same connection",
    "400, and the connection ends",
)
def test_tunnels(plain: Target, note: Note) -> None:
    tunnel = b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere:443\r\n\r\n"
    with others_are_served(plain, note):
        for before, told in ((b"", []), (REQUEST, [b"HTTP/1.1 200"])):
            with plain.connect() as connection:
                connection.sendall(before + tunnel)
                assert re.findall(rb"HTTP/1.1 \d+", answer(connection)) == [*told, b"HTTP/1.1 400"]


@fault("all of the above", "no answer was a 500, the log has no error, all requests have ended")
def test_nothing_is_left(plain: Target, note: Note) -> None:
    wait_for(lambda: plain.count("serving_requests_in_flight") == 1)
    text = plain.client.get("/metrics").text
    assert 'status="500"' not in text
    assert "Traceback" not in plain.server.log.read_text()
    note("resident MB", round(plain.resident_mb()))
