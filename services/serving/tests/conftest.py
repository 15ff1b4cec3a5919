"""Models in folders, and the whole application under uvicorn in a thread of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn

from services.serving.tests.bundles import write_bundle
from serving.app import create_app
from serving.certificates import trusted
from serving.environment import read
from serving.settings import Settings
from tests.support.waiting import until


class Bundle(msgspec.Struct, frozen=True):
    """A model in a folder, and its digest."""

    folder: Path
    digest: str

    def pin(self, **more: str) -> dict[str, str]:
        """Return the settings that serve it without a registry."""
        uri = self.folder.as_uri()
        return {"MODEL_VERSION": "7", "MODEL_URI": uri, "MODEL_DIGEST": self.digest, **more}


Serve = Callable[[dict[str, str]], httpx.Client]


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A classifier with both of its forms."""
    folder = tmp_path_factory.mktemp("iris")
    return Bundle(folder, write_bundle(folder))


@pytest.fixture(scope="session")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A regressor with both of its forms."""
    folder = tmp_path_factory.mktemp("diabetes")
    return Bundle(folder, write_bundle(folder, "diabetes"))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts the application with some settings. It returns a client at once."""
    with ExitStack() as stack:
        yield lambda environ: stack.enter_context(running(environ))


@pytest.fixture(scope="session")
def iris_api(iris: Bundle) -> Iterator[httpx.Client]:
    """The classifier, served and ready."""
    with running(iris.pin()) as client:
        until_ready(client)
        yield client


@contextmanager
def running(environ: dict[str, str]) -> Iterator[httpx.Client]:
    app = create_app(read(Settings, environ)).asgi
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0, verify=trusted()) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def until_ready(client: httpx.Client) -> None:
    wait_for(lambda: client.get("/health/ready").status_code == 200)


def wait_for(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Wait until a condition holds."""
    until(condition, seconds)
