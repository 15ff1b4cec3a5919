"""The prediction log's store fails: requests are answered, memory stays, lost rows are counted, others written."""

from pathlib import Path

import numpy as np
import pytest

from services.serving.tests.bundles import write_bundle
from services.serving.tests.conftest import Bundle
from tests.faults.conftest import Note
from tests.faults.matrix import fault
from tests.faults.test_servers import MOST_MB, peak_mb, proxied
from tests.integration.logged import Logged, counts, pinned
from tests.integration.serving_fixtures import Callers, served, wait_for
from tests.integration.stores import S3Store


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("iris")
    return Bundle(folder, write_bundle(folder))


@pytest.fixture
def logged(s3: S3Store) -> Logged:
    return Logged.below(s3, "faults/")


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            what,
            marks=fault(
                f"the log's store {title}", "every request is answered; all rows are written once it works again"
            ),
            id=what,
        )
        for what, title in (
            ("silent", "accepts files and never answers"),
            ("reset", "resets every connection"),
            ("flapping", "resets every other connection"),
            ("cut", "disconnects in the middle of every answer"),
            ("unavailable", "answers 503"),
            ("full", "has no space left"),
            ("page", "answers with somebody's login page"),
        )
    ],
)
def test_a_log_that_cannot_be_written_delays_nobody(
    logged: Logged, bundle: Bundle, tmp_path: Path, what: str, note: Note
) -> None:
    with proxied(logged.s3.url, tmp_path, what) as store:
        settings = {**pinned(bundle), **logged.settings(S3_ENDPOINT_URL=store.url)}
        with served(tmp_path, settings) as (server, client), Callers(server.url, count=2) as callers:
            wait_for(lambda: len(callers.versions) > 50)
            most = peak_mb(server)
            answered = len(callers.versions)
            wait_for(lambda: len(callers.versions) > answered + 100)
            if what != "flapping":
                assert counts(client)["rows_written"] == 0
                # On a fast machine the callers above have their answers before the first file is compressed.
                wait_for(lambda: counts(client)["pending_bytes"] > 0)
            assert client.get("/health/ready").status_code == 200
            store.do("pass")
            callers.stop()
            sent = len(callers.versions)
            wait_for(lambda: counts(client)["rows_written"] >= sent)
            assert callers.failures == []
            assert peak_mb(server) - most < MOST_MB
    note("rows", sent)
    assert len(logged.lines()) == sent
    said = _said(tmp_path)
    if what != "flapping":
        assert said.count("the prediction log cannot be written now") == 1
        assert said.count("the prediction log can be written again") == 1


@fault("the log's store does not answer when the process must end", "it ends in time, and reports what is lost")
def test_the_end_is_not_delayed_by_the_store(logged: Logged, bundle: Bundle, tmp_path: Path) -> None:
    with proxied(logged.s3.url, tmp_path, "silent") as store:
        settings = {**pinned(bundle), **logged.settings(S3_ENDPOINT_URL=store.url, PREDICTION_LOG_END_SECONDS="1")}
        with served(tmp_path, settings) as (server, client):
            for _ in range(10):
                assert client.post("/predict", json={"instances": [[5.1, 3.5, 1.4, 0.2]] * 7}).status_code == 200
        assert server.exit_status() == 0
    said = _said(tmp_path)
    assert "the end of the prediction log is lost" in said
    assert '"rows": 70' in said or '"rows":70' in said


@fault("rows come faster than the log can write", "every request is answered; rows are dropped, and each is counted")
def test_more_rows_than_the_log_may_write(logged: Logged, bundle: Bundle, tmp_path: Path, note: Note) -> None:
    rows = np.random.default_rng(7).uniform(0, 8, (1000, 4)).tolist()
    requests = 60
    with served(tmp_path, {**pinned(bundle), **logged.settings()}) as (server, client):
        client.post("/predict", json={"instances": rows})
        most = peak_mb(server)
        for _ in range(requests - 1):
            assert client.post("/predict", json={"instances": rows}).status_code == 200
        wait_for(lambda: counts(client)["rows_written"] + counts(client)["queue"] == requests * 1000)
        found = counts(client)
        assert found["queue"] > 0
        assert found["queue"] % 1000 == 0
        assert peak_mb(server) - most < MOST_MB
    note("dropped", f"{found['queue'] / requests / 10:.0f} %")
    assert len(logged.lines()) == found["rows_written"]


def _said(folder: Path) -> str:
    [file] = folder.glob("serving-*.log")
    return file.read_text()
