"""S3 and MLflow are slow, fail now and then, or send wrong data: nothing wrong is served, and served versions stay."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from embedded.processes import LOOPBACK, NOBODY, Server, free_port
from services.serving.tests.bundles import write_bundle
from tests.faults.conftest import Note
from tests.faults.matrix import fault
from tests.integration.serving_fixtures import Callers, Model, served, version_served, wait_for
from tests.integration.stores import BUCKET, S3Store

EAGER = {"RETRY_MIN_SECONDS": "0.1", "RETRY_MAX_SECONDS": "0.3", "REGISTRY_TIMEOUT_SECONDS": "1"}


MOST_MB = 60


def peak_mb(server: Server) -> float:
    """Return the peak memory of a process in MB."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1000


class Proxied(msgspec.Struct, frozen=True):
    """A server behind a proxy: its address, and the file that says what the proxy does."""

    url: str
    file: Path

    def do(self, what: str) -> None:
        self.file.write_text(what)


@contextlib.contextmanager
def proxied(target_url: str, folder: Path, what: str) -> Iterator[Proxied]:
    port, file = free_port(), folder / "fault"
    file.write_text("pass")
    command = [sys.executable, "-m", "tests.faults.proxy", str(port), str(httpx.URL(target_url).port), str(file)]
    url = f"http://{LOOPBACK}:{port}"
    any_answer = frozenset(range(200, 600))
    with Server("proxy", command, url=url, ready_path="/", log=folder / "proxy.log", ready_statuses=any_answer):
        file.write_text(what)
        yield Proxied(url, file)


@pytest.fixture(scope="module")
def in_s3(s3: S3Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return settings of a pod that is pinned to a model in S3, without the store's address."""
    folder = tmp_path_factory.mktemp("in-s3")
    digest = write_bundle(folder)
    for path in folder.iterdir():
        s3.client(s3.writer).upload_file(str(path), BUCKET, f"faults/model/{path.name}")
    return {
        **EAGER,
        "MLFLOW_TRACKING_URI": NOBODY,
        "MODEL_VERSION": "3",
        "MODEL_DIGEST": digest,
        "MODEL_URI": f"s3://{BUCKET}/faults/model",
        "AWS_ACCESS_KEY_ID": s3.reader.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key,
        "DOWNLOAD_SECONDS": "3",
    }


def problem(client: httpx.Client) -> str:
    found: str = client.get("/health").json()["problem"]
    return found


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        pytest.param(
            what,
            reason,
            marks=fault(f"S3 {title}", f'not ready, alive; says "{reason}"; served once S3 works again'),
            id=what,
        )
        for what, title, reason in (
            ("silent", "accepts requests and never answers", "did not arrive within"),
            ("drip", "sends a byte every tenth of a second", "did not arrive within"),
            ("corrupt", "sends wrong bytes", "digest"),
            ("cut", "disconnects in the middle of every answer", "S3 does not answer"),
            ("reset", "resets every connection", "S3 does not answer"),
            ("unavailable", "answers 503", "S3 answers 503"),
            ("page", "answers with somebody's login page", "does not follow its protocol"),
        )
    ],
)
def test_s3_that_does_not_return_the_model(
    s3: S3Store, in_s3: dict[str, str], tmp_path: Path, what: str, reason: str
) -> None:
    with (
        proxied(s3.url, tmp_path, what) as store,
        served(tmp_path, {**in_s3, "S3_ENDPOINT_URL": store.url}, ready=False) as (_, client),
    ):
        wait_for(lambda: reason in problem(client))
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        store.do("pass")
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        assert client.get("/model/info").json()["digest"] == in_s3["MODEL_DIGEST"]
        assert version_served(client) == "3"


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("slow", marks=fault("S3 sends 40 KB a second", "ready, only later"), id="slow"),
        pytest.param("flapping", marks=fault("S3 resets every other connection", "ready all the same"), id="flapping"),
    ],
)
def test_s3_that_is_slow_or_resets_connections(s3: S3Store, in_s3: dict[str, str], tmp_path: Path, what: str) -> None:
    with proxied(s3.url, tmp_path, what) as store:
        settings = {**in_s3, "S3_ENDPOINT_URL": store.url, "DOWNLOAD_SECONDS": "30"}
        with served(tmp_path, settings) as (_, client):
            assert version_served(client) == "3"


@pytest.fixture(scope="module")
def registered(mlflow_proxied: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, str, str]:
    """Register a model with two versions."""
    model = Model(mlflow_proxied.url, tmp_path_factory.mktemp("registered"))
    return model, model.register().number, model.register(strength=0.1).number


@pytest.mark.parametrize(
    ("what", "noticed"),
    [
        pytest.param(
            what,
            what != "flapping",
            marks=fault(
                f"MLflow {title} while a version is served",
                "it is still served, no request fails; the alias is followed once MLflow works again",
            ),
            id=what,
        )
        for what, title in (
            ("silent", "accepts requests and never answers"),
            ("drip", "sends a byte every tenth of a second"),
            ("corrupt", "answers with wrong bytes"),
            ("cut", "disconnects in the middle of every answer"),
            ("reset", "resets every connection"),
            ("flapping", "resets every other connection"),
            ("unavailable", "answers 503"),
            ("page", "answers with somebody's login page"),
            ("bomb", "answers with 2.4 MB of gzip that inflate to 2.4 GB"),
        )
    ],
)
def test_mlflow_that_does_not_answer_correctly(
    mlflow_proxied: Server, registered: tuple[Model, str, str], tmp_path: Path, what: str, noticed: bool, note: Note
) -> None:
    model, first, second = registered
    model.move("production", first)
    with proxied(mlflow_proxied.url, tmp_path, "pass") as registry:
        settings = model.settings(**EAGER | {"MLFLOW_TRACKING_URI": registry.url})
        with served(tmp_path, settings) as (server, client), Callers(server.url, count=2) as callers:
            most = peak_mb(server)
            registry.do(what)
            if noticed:
                wait_for(lambda: "MLflow" in problem(client))
            answered = len(callers.versions)
            wait_for(lambda: len(callers.versions) > answered + 50)
            assert set(callers.versions) == {first}
            assert client.get("/health/ready").status_code == 200
            model.move("production", second)
            registry.do("pass")
            wait_for(lambda: callers.versions[-1] == second and not problem(client))
            assert peak_mb(server) - most < MOST_MB
        assert callers.failures == []
        note("requests answered", len(callers.versions))


@fault(
    "MLflow sends the model with wrong bytes, and then slowly", "the version before is served until the bytes are right"
)
def test_a_model_that_mlflow_sends_with_wrong_bytes(mlflow_proxied: Server, tmp_path: Path) -> None:
    with proxied(mlflow_proxied.url, tmp_path, "pass") as registry:
        model = Model(mlflow_proxied.url, tmp_path)
        first, second = model.register(alias="production"), model.register(strength=0.1)
        settings = model.settings(**EAGER | {"MLFLOW_TRACKING_URI": registry.url})
        with served(tmp_path, settings) as (_, client):
            assert version_served(client) == first.number
            registry.do("corrupt")
            model.move("production", second.number)
            wait_for(lambda: problem(client) != "")
            assert version_served(client) == first.number
            registry.do("slow")
            wait_for(lambda: version_served(client) == second.number)
            assert client.get("/model/info").json()["digest"] == second.digest
