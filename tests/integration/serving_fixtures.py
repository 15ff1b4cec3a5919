"""Shared parts of the tests of serving: versions registered in a real MLflow, and callers that request all the time."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from mlflow import MlflowClient

from embedded.processes import Server
from embedded.servers import serving
from services.serving.tests.bundles import SETOSA, write_bundle
from serving.certificates import trusted
from tests.support.waiting import until

_numbers = itertools.count(1)


class Version(msgspec.Struct, frozen=True):
    """A registered version: its number, digest, address, and the local copy that it was made from."""

    number: str
    digest: str
    uri: str
    folder: Path


class Model:
    """A new registered model in a real registry."""

    def __init__(self, tracking_uri: str, folder: Path, name: str = "") -> None:
        self.name = name or f"model-{next(_numbers)}-{folder.name}"[:80]
        self.client = MlflowClient(tracking_uri)
        self.client.create_registered_model(self.name)
        self._folder = folder
        self._tracking_uri = tracking_uri

    def register(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        alias: str = "",
        write: Callable[..., str] = write_bundle,
        **bundle: Any,
    ) -> Version:
        """Register another version, written by `write`: gated and with its digest, unless `tags` override this."""
        folder = self._folder / f"bundle-{next(_numbers)}"
        digest = write(folder, **bundle)
        run = self.client.create_run("0")
        self.client.log_artifacts(run.info.run_id, str(folder), "model")
        uri = f"{run.info.artifact_uri}/model"
        made = self.client.create_model_version(
            self.name, uri, run.info.run_id, tags={"gate": "passed", "digest": digest, **(tags or {})}
        )
        number = str(made.version)
        if alias:
            self.move(alias, number)
        return Version(number, digest, uri, folder)

    def move(self, alias: str, number: str) -> None:
        self.client.set_registered_model_alias(self.name, alias, number)

    def pin(self, version: Version) -> dict[str, str]:
        """Return an entry of EXTRA_MODELS that needs no registry."""
        return {"name": self.name, "version": version.number, "digest": version.digest, "uri": version.uri}

    def settings(self, **more: str) -> dict[str, str]:
        """Return settings that follow the alias `production` with short intervals."""
        return {
            "MLFLOW_TRACKING_URI": self._tracking_uri,
            "MODEL_NAME": self.name,
            "MODEL_POLL_SECONDS": "0.1",
            "RETRY_MAX_SECONDS": "0.5",
            "REGISTRY_TIMEOUT_SECONDS": "2",
            **more,
        }


@contextlib.contextmanager
def served(folder: Path, settings: Mapping[str, str], *, ready: bool = True) -> Iterator[tuple[Server, httpx.Client]]:
    """Yield a serving process and a client for it, by default once the process is ready."""
    server = serving(folder, settings)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=10.0, trust_env=False, verify=trusted()) as client:
            if ready:
                server.wait_ready()
            else:
                wait_for(lambda: alive(client))
            yield server, client
    finally:
        server.stop()


def alive(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def predict(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/predict", json={"features": SETOSA, **more})


def version_served(client: httpx.Client) -> str:
    version: str = predict(client).json()["model_version"]
    return version


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    until(condition, seconds)


class Callers:
    """Threads that request predictions all the time, and record every answer and every failure.

    Each pauses for `pause` seconds after an answer. Without a pause, they and the server would use all processors for
    as long as a test waits for something else, such as a timeout.
    """

    def __init__(self, url: str, count: int = 4, pause: float = 0.01) -> None:
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._url = url
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10.0, trust_env=False, verify=trusted()) as client:
            while not self._stop.wait(self._pause):
                try:
                    response = predict(client)
                except httpx.ConnectError:
                    return  # Nothing listens any longer, so no accepted request was dropped.
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return
                if response.status_code == 200:
                    self.versions.append(response.json()["model_version"])
                else:
                    self.failures.append(response.text)
