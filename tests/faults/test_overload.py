"""Requests beyond what can be answered are refused at once, and accepted ones are answered, by fast and slow models."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import httpx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from embedded.processes import LOOPBACK
from services.serving.tests.bundles import CLASSES, write_bundle
from tests.faults.conftest import Note, target
from tests.faults.matrix import fault
from tests.faults.test_callers import REQUEST
from tests.integration.serving_fixtures import wait_for

ROUNDS, CONNECTIONS = 20, 300
BUSY, NEWCOMERS = 32, 300
_HEAD = re.compile(rb"HTTP/1\.1 (\d+).*?content-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)


def one_answer(connection: socket) -> tuple[int, bytes]:
    """Read one answer. Return its status, and all of its bytes."""
    found = b""
    while True:
        match = _HEAD.match(found)
        if match and len(found) >= match.end() + int(match[2]):
            return int(match[1]), found
        data = connection.recv(65536)
        assert data, f"hung up after {found!r}"
        found += data


@fault(
    "300 requests at once, again and again, where 16 may wait",
    "200, or 503 with `Retry-After` at once and on a connection that stays; probes are answered",
)
def test_more_requests_than_may_wait(pinned: dict[str, str], tmp_path: Path, note: Note) -> None:
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_WAITING_REQUESTS": "16"}))
        connections = [stack.enter_context(started.connect()) for _ in range(CONNECTIONS)]
        answers = []
        for _ in range(ROUNDS):
            for connection in connections[::2]:
                connection.sendall(REQUEST[:-10])
            for connection in connections[1::2]:
                connection.sendall(REQUEST)
            for connection in connections[::2]:
                connection.sendall(REQUEST[-10:])
            assert started.client.get("/health/ready").status_code == 200
            answers += [one_answer(connection) for connection in connections]
        refused = [text for status, text in answers if status == 503]
        assert {status for status, _ in answers} == {200, 503}
        assert all(b"retry-after: 1\r\n" in text and b"application/problem+json" in text for text in refused)
        assert started.count("serving_requests_shed_total") == len(refused)
        note("answered", len(answers) - len(refused))
        note("refused", len(refused))


@fault(
    "300 requests at once to other spellings of the same paths (`//predict`, `/%70redict`, an absolute URL)",
    "200 or 503 for each spelling: none passes the bound",
)
def test_other_spellings_of_a_path_are_refused_too(pinned: dict[str, str], tmp_path: Path) -> None:
    predict = (b"/predict", b"//predict", b"/%70redict", b"/predict/", b"/predict?x=1", b"http://x/predict")
    model = b"/models/iris-classifier"
    infer = [root + model + b"/infer" for root in (b"/v2", b"/v2/", b"/%762")] + [b"/v2" + model + b"/versions/1/infer"]
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, "MAX_WAITING_REQUESTS": "1"}))
        connections = [stack.enter_context(started.connect()) for _ in range(CONNECTIONS)]
        for url in (*predict, *infer):
            request = REQUEST.replace(b"/predict", url)
            for connection in connections[::2]:
                connection.sendall(request[:-10])
            for connection in connections[::2]:
                connection.sendall(request[-10:])
            for connection in connections[1::2]:
                connection.sendall(request)
            statuses = {one_answer(connection)[0] for connection in connections}
            assert statuses == {400 if model in url else 200, 503}, url


@fault(
    "300 rows at once for a model that needs a worker thread for each, where rows may wait 0.05 s",
    "those that can be computed soon are; the rest get 503 with `Retry-After`",
)
def test_more_rows_than_a_slow_model_computes(tmp_path: Path, note: Note) -> None:
    rows, labels = load_iris(return_X_y=True)
    forest = RandomForestClassifier(300).fit(rows, [CLASSES[label] for label in labels])
    folder = tmp_path / "forest"
    settings = {
        "MODEL_VERSION": "1",
        "MODEL_URI": folder.as_uri(),
        "MODEL_DIGEST": write_bundle(folder, estimator=forest, onnx=False),
        "MAX_QUEUE_SECONDS": "0.05",
    }
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, settings))
        connections = [stack.enter_context(started.connect()) for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.sendall(REQUEST)
        answers = [one_answer(connection) for connection in connections]
        assert {status for status, _ in answers} <= {200, 503}
        assert any(status == 200 for status, _ in answers)
        wait_for(lambda: started.client.post("/predict", content=REQUEST.split(b"\r\n\r\n")[1]).status_code == 200)
        note("answered", sum(status == 200 for status, _ in answers))


@fault(
    "300 callers connect at once while 32 others send 1,000 rows each, again and again",
    "each new caller is answered after a few answers to the others, not after as many as there are new callers",
)
def test_newcomers_while_others_are_busy(pinned: dict[str, str], tmp_path: Path, note: Note) -> None:
    patient = {"MAX_WAITING_REQUESTS": "1000", "MAX_WAITING_SECONDS": "60", "MAX_QUEUE_SECONDS": "60"}
    with target(tmp_path, {**pinned, **patient}) as started:
        before = asyncio.run(_answers_before_newcomers(started.server.url))
    note("answers to each of the others meanwhile", round(before))
    assert before < NEWCOMERS / 10


async def _answers_before_newcomers(url: str) -> float:
    """Return how many answers each busy caller got until the last newcomer got its own."""
    port = httpx.URL(url).port
    answers, warm = 0, asyncio.Event()

    async def ask(rows: int, then: Callable[[], bool]) -> None:
        """Send requests over one connection while `then` returns true after each answer."""
        body = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * rows}).encode()
        request = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            while True:
                writer.write(request)
                match = _HEAD.match(await reader.readuntil(b"\r\n\r\n"))
                assert match
                assert match[1] == b"200"
                await reader.readexactly(int(match[2]))
                if not then():
                    return
        finally:
            writer.close()

    def again() -> bool:
        nonlocal answers
        answers += 1
        if answers == 2 * BUSY:
            warm.set()
        return not done

    done = False
    others = [asyncio.create_task(ask(1000, again)) for _ in range(BUSY)]
    await warm.wait()
    begun = answers
    await asyncio.gather(*(ask(1, lambda: False) for _ in range(NEWCOMERS)))
    ended, done = answers, True
    await asyncio.gather(*others)
    return (ended - begun) / BUSY
