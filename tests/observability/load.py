"""A script of requests that are good, wrong, slow or failing, and their results."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

Kind = Literal["good", "wrong", "slow", "failing"]

_ROW = [5.1, 3.5, 1.4, 0.2]
_BODIES: dict[Kind, dict[str, object]] = {
    "good": {"features": _ROW},
    "wrong": {"features": ["five", 3.5, 1.4, 0.2]},
    "slow": {"features": _ROW},
    # A version that is not in memory while the registry is down.
    "failing": {"features": _ROW, "model_version": "99"},
}
STATUSES: dict[Kind, int] = {"good": 200, "wrong": 422, "slow": 200, "failing": 503}
# Longer than the objective allows, and far from the bounds of its bucket (0.1 s to 0.25 s).
_PAUSE_SECONDS = 0.15
_CONNECTIONS = 4


class Answer(msgspec.Struct, frozen=True):
    """The kind of request, the status, and the time from the request's head to the answer, in seconds."""

    kind: Kind
    status: int
    seconds: float


def ask(host: str, port: int, kind: Kind) -> Answer:
    """Send one request on a separate connection. A slow request pauses between its head and its body."""
    body = json.dumps(_BODIES[kind]).encode()
    connection = http.client.HTTPConnection(host, port, timeout=30.0)
    try:
        connection.connect()
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        start = time.perf_counter()
        connection.endheaders()
        if kind == "slow":
            time.sleep(_PAUSE_SECONDS)
        connection.send(body)
        response = connection.getresponse()
        response.read()
        return Answer(kind, response.status, time.perf_counter() - start)
    finally:
        connection.close()


def run(host: str, port: int, script: dict[Kind, int]) -> list[Answer]:
    """Send this many requests of each kind, evenly mixed, a few at a time."""
    places = sorted((index / count, kind) for kind, count in script.items() for index in range(count))
    with ThreadPoolExecutor(_CONNECTIONS) as callers:
        return list(callers.map(lambda place: ask(host, port, place[1]), places))


def statuses(answers: list[Answer]) -> Counter[int]:
    """Return how often each status came."""
    return Counter(answer.status for answer in answers)


def quantile(answers: list[Answer], share: float) -> float:
    """Return the time in which this share of the answers came, in seconds."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(share * len(times)))]
