"""The load script that looks for dropped requests would find them: it counts every kind of failure, and only those."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.pods import SCRIPTS

ANSWER = json.dumps({"prediction": "setosa", "model_version": "3"}).encode()


class Service(BaseHTTPRequestHandler):
    """Handler that answers each prediction and closes no connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def answer(self) -> None:
        self.reply(200)

    def reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        pass


class ClosesWhenIdle(Service):
    """Handler that closes the connection silently after each answer, as a server does with idle clients."""

    def answer(self) -> None:
        super().answer()
        self.close_connection = True


class WaitsAtEveryTenth(Service):
    """Handler that sometimes takes more than a second."""

    numbers = itertools.count(1)

    def answer(self) -> None:
        if next(self.numbers) % 10 == 0:
            time.sleep(1.2)
        self.reply(200)


class RefusesEveryFifth(Service):
    """Handler that is sometimes not ready."""

    numbers = itertools.count(1)

    def answer(self) -> None:
        self.reply(503 if next(self.numbers) % 5 == 0 else 200)


class HangsUpEveryFifth(Service):
    """Handler that sometimes accepts a request and closes the connection without an answer."""

    numbers = itertools.count(1)

    def answer(self) -> None:
        if next(self.numbers) % 5 == 0:
            self.close_connection = True
        else:
            self.reply(200)


@contextlib.contextmanager
def serving(service: type[Service]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), service) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/predict"
        finally:
            server.shutdown()
            thread.join()


def load(url: str) -> dict[str, Any]:
    # Slow enough that even on a busy machine the client knows of a closed connection before its next request.
    question = {"url": url, "rate": 20, "workers": 4, "rows": 1, "features": [5.1], "seconds": 2}
    command = [sys.executable, str(SCRIPTS / "load.py"), json.dumps(question)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("service", [Service, ClosesWhenIdle])
def test_nothing_is_dropped_by_a_service_that_answers(service: type[Service]) -> None:
    with serving(service) as url:
        result = load(url)
    assert result["errors"] == []
    assert (result["dropped"], result["versions"]) == (0, {"3": result["sent"]})
    assert result["predictions"] == {"setosa": result["sent"]}
    assert result["sent"] > 4
    assert result["slow"] == 0


@pytest.mark.parametrize(("service", "reason"), [(RefusesEveryFifth, "503"), (HangsUpEveryFifth, "RemoteDisconnected")])
def test_each_request_without_an_answer_is_dropped(service: type[Service], reason: str) -> None:
    with serving(service) as url:
        result = load(url)
    assert result["dropped"] == result["sent"] // 5 > 0
    assert all(reason in error for error in result["errors"])
    assert result["versions"] == {"3": result["sent"] - result["dropped"]}


def test_slow_answers_are_counted_but_are_not_failures() -> None:
    with serving(WaitsAtEveryTenth) as url:
        result = load(url)
    assert (result["dropped"], result["errors"]) == (0, [])
    assert result["slow"] == result["sent"] // 10 > 0


def test_everything_is_dropped_without_a_server() -> None:
    with serving(Service) as url:
        pass
    result = load(url)
    assert result["dropped"] == result["sent"] > 0
    assert (result["versions"], result["p50_ms"]) == ({}, None)
