"""Models that loop for ever or use too much memory do not affect the served version, and the process can be stopped."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from embedded.processes import Server
from services.serving.tests.hostile import write_endless, write_swollen
from tests.faults.conftest import Note
from tests.faults.matrix import fault
from tests.integration.serving_fixtures import Callers, Model, served, version_served, wait_for

EXPECTED = "refused with a reason and a remedy; the version before is still served, no request fails, no memory is kept"


def problem(client: httpx.Client) -> str:
    found: str = client.get("/health").json()["problem"]
    return found


def trials(server: Server) -> list[psutil.Process]:
    """Return the processes in which a server tries a version."""
    return [child for child in psutil.Process(server.pid).children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("write", "settings", "reason"),
    [
        pytest.param(
            write_endless,
            {"TRIAL_SECONDS": "4"},
            "TRIAL_SECONDS",
            marks=fault("a model of 300 bytes that loops forever", EXPECTED),
            id="endless",
        ),
        pytest.param(
            write_swollen,
            {},
            "TRIAL_MEMORY_BYTES",
            marks=fault("a model of 800 KB that takes 800 MB of memory", EXPECTED),
            id="swollen",
        ),
    ],
)
def test_a_model_that_takes_too_much(
    mlflow_proxied: Server,
    tmp_path: Path,
    note: Note,
    write: Callable[[Path], str],
    settings: dict[str, str],
    reason: str,
) -> None:
    model = Model(mlflow_proxied.url, tmp_path)
    first, hostile = model.register(alias="production"), model.register(write=write)
    third = model.register(strength=0.1)
    with served(tmp_path, model.settings(**settings)) as (server, client), Callers(server.url, count=2) as callers:
        before = psutil.Process(server.pid).memory_info().rss
        model.move("production", hostile.number)
        wait_for(lambda: reason in problem(client), 120.0)
        assert "its trial in a separate process" in problem(client)
        assert version_served(client) == first.number
        assert client.get("/health/ready").status_code == 200
        assert trials(server) == []
        more = (psutil.Process(server.pid).memory_info().rss - before) / 1e6
        assert more < 60
        model.move("production", third.number)
        wait_for(lambda: callers.versions[-1] == third.number and not problem(client))
        callers.stop()
        assert callers.failures == []
        assert set(callers.versions) == {first.number, third.number}
        note("requests answered", len(callers.versions))


@fault("SIGTERM while a model that loops forever is opened", "it ends with 0, and so does the trial of the model")
def test_sigterm_while_a_model_is_opened(mlflow_proxied: Server, tmp_path: Path, note: Note) -> None:
    model = Model(mlflow_proxied.url, tmp_path)
    model.register(alias="production", write=write_endless)
    settings = model.settings(SHUTDOWN_DRAIN_SECONDS="0.1")
    with served(tmp_path, settings, ready=False) as (server, client):
        wait_for(lambda: any(child.cpu_times().user > 1 for child in trials(server)))
        [child] = trials(server)
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        start = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: server.exit_status() is not None, 10.0)
        note("seconds", round(time.monotonic() - start, 1))
        assert server.exit_status() == 0
        assert not child.is_running()
