"""Send predictions at a constant rate until `/tmp/stop` appears, and print the results.

Question: `url`, `rate` (requests per second; 0 means as fast as they are answered), `workers`, `rows` (of a request),
`features` (one row), `seconds` (the longest duration). Every second worker opens a new connection for each request. The
others keep their connection and check before each request whether the server has closed it, as connection pools do.
Nothing is retried: a request without a 200 answer counts as dropped.
"""

import http.client
import itertools
import json
import pathlib
import select
import sys
import threading
import time
import urllib.parse
from typing import Any

STOP = pathlib.Path("/tmp/stop")  # noqa: S108  the pod's own
SLOW_SECONDS = 1.0
"""A longer answer counts as slow."""


class Tally:
    """The results of all workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started = time.monotonic()
        self.latencies: list[float] = []
        self.versions: dict[str, int] = {}
        self.predictions: dict[str, int] = {}
        self.errors: list[str] = []
        self.last_answer = 0.0
        self.longest_gap = 0.0

    def answered(self, seconds: float, version: str, prediction: str) -> None:
        """Count an answer, with its duration, model version and prediction."""
        now = time.monotonic()
        with self.lock:
            self.latencies.append(seconds)
            self.versions[version] = self.versions.get(version, 0) + 1
            self.predictions[prediction] = self.predictions.get(prediction, 0) + 1
            self.longest_gap = max(self.longest_gap, now - (self.last_answer or now))
            self.last_answer = now

    def dropped(self, reason: str) -> None:
        """Count a request without an answer."""
        with self.lock:
            self.errors.append(f"after {time.monotonic() - self.started:.1f} s: {reason}")

    def result(self) -> dict[str, Any]:
        """Return the result to print."""
        latencies = sorted(self.latencies)
        seconds = time.monotonic() - self.started
        sent = len(latencies) + len(self.errors)
        return {
            "seconds": round(seconds, 1),
            "sent": sent,
            "dropped": len(self.errors),
            "rate": round(sent / seconds, 1),
            "errors": self.errors[:20],
            "versions": self.versions,
            "predictions": self.predictions,
            "slow": sum(latency > SLOW_SECONDS for latency in latencies),
            "p50_ms": _milliseconds(latencies, 0.50),
            "p99_ms": _milliseconds(latencies, 0.99),
            "longest_gap_ms": round(self.longest_gap * 1000, 1),
        }


def _milliseconds(latencies: list[float], share: float) -> float | None:
    return round(latencies[int(share * (len(latencies) - 1))] * 1000, 2) if latencies else None


class Caller:
    """A client of the service with its own connection."""

    def __init__(self, url: str, body: str, *, keeps: bool) -> None:
        self.target = urllib.parse.urlsplit(url)
        self.body = body
        self.headers = {"Content-Type": "application/json", **({} if keeps else {"Connection": "close"})}
        self.connection = http.client.HTTPConnection(self.target.hostname or "", self.target.port or 80, timeout=10)

    def predict(self) -> tuple[str, str]:
        """Return version and prediction of an answer. Raise OSError or HTTPException if there is none."""
        sock = self.connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self.connection.close()
        self.connection.request("POST", self.target.path, self.body, self.headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"{response.status} {content[:200]!r}")
        answer = json.loads(content)
        # Only pods since version 0.2 have the header. The answer's own version may be the release's name.
        version: str = response.getheader("X-Model-Version") or answer["model_version"]
        return version, str(answer.get("prediction", ""))


def work(number: int, question: dict[str, Any], stop: threading.Event, tally: Tally) -> None:
    """Send this worker's share of the requests."""
    row = question["features"]
    document = {"features": row} if question["rows"] == 1 else {"instances": [row] * question["rows"]}
    caller = Caller(question["url"], json.dumps(document), keeps=number % 2 == 0)
    pause = question["workers"] / question["rate"] if question["rate"] else 0
    first = tally.started + pause * number / question["workers"]
    for count in itertools.count():
        if stop.wait(max(0.0, first + count * pause - time.monotonic())):
            return
        begun = time.monotonic()
        try:
            version, prediction = caller.predict()
        except (OSError, http.client.HTTPException) as error:
            caller.connection.close()
            tally.dropped(f"{type(error).__name__}: {error}")
        else:
            tally.answered(time.monotonic() - begun, version, prediction)


def main() -> None:
    """Run the workers, and print the result."""
    question = json.loads(sys.argv[1])
    stop, tally = threading.Event(), Tally()
    workers = [
        threading.Thread(target=work, args=(number, question, stop, tally)) for number in range(question["workers"])
    ]
    for worker in workers:
        worker.start()
    while not STOP.exists() and time.monotonic() < tally.started + question["seconds"]:
        time.sleep(0.1)
    stop.set()
    for worker in workers:
        worker.join()
    print(json.dumps(tally.result()))


if __name__ == "__main__":
    main()
