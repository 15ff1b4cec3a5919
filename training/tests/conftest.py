"""A real MLflow store for each test, the command line, and small tables to learn from."""

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import Struct

# pytest names this file `training.tests.conftest` after its folders. To do so, it registers an empty module in place of
# the package `training`, which is removed here.
if getattr(sys.modules.get("training"), "__file__", None) is None:
    sys.modules.pop("training", None)

from tests.support.mlflow_tables import tables
from tests.support.once import made_once
from training.cli import execute
from training.environment import prepare_environment

prepare_environment()


class Outcome(Struct, frozen=True):
    """The result of one command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not retry requests, so that a server that is down fails at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="session", autouse=True)
def _mlflow_loaded() -> None:
    """Load mlflow.pyfunc, which warns about MLflow's own types, before any test that would fail at the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mlflow.pyfunc")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables in it."""
    return tables(tmp_path_factory)


@pytest.fixture
def store(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty MLflow store in a file; artifacts go to the test's own folder."""
    shutil.copy(database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.fixture
def training(store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """The command line, in this process, with the store as its MLflow, and without folds to save time."""
    monkeypatch.setenv("TRAINING_CV", "0")

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = execute(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def _trained_once(database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    def train(folder: Path) -> None:
        path = folder / "mlflow.db"
        shutil.copy(database, path)
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder), contextlib.redirect_stdout(output):
            # MLflow writes its address to the environment. Other suites' tests must not see it.
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
            assert execute(["run", "--tracking-uri", f"sqlite:///{path}", "--json"]) == 0
        (folder / "result.json").write_text(output.getvalue())

    made = made_once(tmp_path_factory, "trained", train)
    return made / "mlflow.db", json.loads((made / "result.json").read_text())


@pytest.fixture
def trained(_trained_once: tuple[Path, Any], store: str) -> Any:
    """The JSON result of `training run` on iris with defaults, whose model is in the test's store."""
    path, result = _trained_once
    shutil.copy(path, store.removeprefix("sqlite:///"))
    return result


class Server(Struct, frozen=True):
    """A running `mlflow server` that serves artifacts itself."""

    uri: str


@pytest.fixture(scope="session")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database, folder / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise AssertionError(f"mlflow server did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture
def blobs_of() -> Callable[[Sequence[Any]], pd.DataFrame]:
    """Makes tables with a cloud of points for each label: columns `a`, `b` and `kind`."""

    def make(labels: Sequence[Any], rows: int = 30, distance: float = 6) -> pd.DataFrame:
        random = np.random.default_rng(7)
        points = [random.normal(distance * index, 1, size=(rows, 2)) for index in range(len(labels))]
        return pd.DataFrame(np.concatenate(points), columns=["a", "b"]).assign(kind=np.repeat(np.array(labels), rows))

    return make


@pytest.fixture
def blobs(blobs_of: Callable[[Sequence[Any]], pd.DataFrame]) -> pd.DataFrame:
    """Two well separated classes, 30 rows each."""
    return blobs_of(["left", "right"])
