"""Explanations in the real process: next to predictions, when it is told to stop, and when it is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_diabetes

from embedded.processes import NOBODY
from services.serving.tests.bundles import write_bundle
from services.serving.tests.test_explain import of_diabetes, with_baseline
from tests.integration.serving_fixtures import served, wait_for

ROW = load_diabetes(return_X_y=True)[0][3].tolist()
# Each row needs all 1,024 sets of columns, so this takes more than half a minute.
LONG: dict[str, Any] = {"instances": [ROW] * 1000}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("diabetes")
    write_bundle(folder, "diabetes")
    pin = with_baseline(folder, of_diabetes()).pin(MLFLOW_TRACKING_URI=NOBODY)
    return {**pin, "EXPLAIN": "true", "EXPLAIN_ROWS": "1000", "EXPLAIN_EVALUATIONS": "1000000"}


@contextmanager
def explaining(url: str) -> Iterator[list[httpx.Response | httpx.HTTPError]]:
    """Request a long explanation during the block; the yielded list has the outcome after it."""
    outcome: list[httpx.Response | httpx.HTTPError] = []

    def ask() -> None:
        try:
            outcome.append(httpx.post(f"{url}/explain", json=LONG, timeout=120, trust_env=False))
        except httpx.HTTPError as error:
            outcome.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield outcome
    finally:
        caller.join()


def busy(client: httpx.Client) -> bool:
    return client.get("/metrics").text.count("serving_requests_in_flight 2.0") == 1


def test_predictions_are_answered_during_a_long_explanation(settings: dict[str, str], tmp_path: Path) -> None:
    with served(tmp_path, {**settings, "EXPLAIN_SECONDS": "5", "MAX_WAITING_REQUESTS": "1"}) as (server, client):
        with explaining(server.url) as outcome:
            wait_for(lambda: busy(client))
            answered = 0
            while not outcome:
                # A prediction may wait for CPU time, but not for the explanation to end.
                assert client.post("/predict", json={"features": ROW}).status_code == 200
                answered += 1
        assert answered > 20
        [given_up] = outcome
        assert isinstance(given_up, httpx.Response)
        assert (given_up.status_code, "retry-after" in given_up.headers) == (503, True)
        again = client.post("/explain", json={"features": ROW}).json()
        assert again["method"] == "exact"


def test_a_stopping_process_waits_for_explanations_up_to_its_limit(settings: dict[str, str], tmp_path: Path) -> None:
    more = {"EXPLAIN_SECONDS": "100", "SHUTDOWN_DRAIN_SECONDS": "0", "SHUTDOWN_GRACE_SECONDS": "2"}
    with served(tmp_path, {**settings, **more}) as (server, client), explaining(server.url) as outcome:
        wait_for(lambda: busy(client))
        os.kill(server.pid, signal.SIGTERM)
        start = time.monotonic()
        wait_for(lambda: server.exit_status() is not None)
        # The whole explanation could take a hundred seconds.
        assert time.monotonic() - start < 60
        assert server.exit_status() == 0
    assert outcome


def test_after_a_kill_the_next_process_explains_the_same(settings: dict[str, str], tmp_path: Path) -> None:
    body = {"features": ROW}
    with served(tmp_path / "first", settings) as (server, client):
        before = client.post("/explain", json=body).json()["explanations"]
        with explaining(server.url) as outcome:
            wait_for(lambda: busy(client))
            os.kill(server.pid, signal.SIGKILL)
        assert isinstance(outcome[0], httpx.HTTPError)
    with served(tmp_path / "second", settings) as (_, client), ThreadPoolExecutor(3) as callers:
        answers = [callers.submit(client.post, "/explain", json=body) for _ in range(3)]
        assert all(answer.result().json()["explanations"] == before for answer in answers)
