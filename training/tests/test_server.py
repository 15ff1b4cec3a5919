"""Proves training against a real MLflow server that serves artifacts, and against one that fails or is down."""

import http.server
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from training.cli import execute
from training.errors import OutageError
from training.registry import Registry
from training.tracking import Tracking

Command = Callable[..., Any]
FULL = b'{"error_code": "INTERNAL_ERROR", "message": "the disk is full"}'
BY_HAND = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum --"


@pytest.fixture
def failing(server: Any) -> Iterator[Callable[..., str]]:
    """Starts a proxy that answers 500 to requests for some paths, before or after (`done`) it forwards them."""
    running: list[http.server.ThreadingHTTPServer] = []

    def start(broken: str, *, done: bool = False) -> str:
        class Proxy(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                fails = broken in self.path and self.command != "GET"
                if fails and not done:
                    return self.answer(500, FULL)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                request = urllib.request.Request(server.uri + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=30) as answered:
                        if fails:
                            return self.answer(500, FULL)
                        return self.answer(answered.status, answered.read())
                except urllib.error.HTTPError as error:
                    return self.answer(error.code, error.read())

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 # http.server's names

        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        running.append(proxy)
        return f"http://127.0.0.1:{proxy.server_port}"

    yield start
    for proxy in running:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_against_a_server_that_works_and_one_that_fails(
    training: Command, server: Any, failing: Callable[..., str], tmp_path: Path
) -> None:
    """One test, because two could run in different workers, and each would start a server."""
    result = registers_and_loads(training, server.uri, tmp_path)
    again = training("run", "--tracking-uri", server.uri, "--json").json
    assert (again["release"], again["metrics"]) == ("v1.1.0", result["metrics"])
    for broken in ("registered-models/alias", "mlflow-artifacts/artifacts"):
        leaves_nothing_behind(training, server.uri, failing(broken), broken.replace("/", "-"))
    for broken in ("model-versions/create", "registered-models/alias"):
        leaves_what_there_was(server.uri, failing(broken, done=True), again)


def registers_and_loads(training: Command, uri: str, folder: Path) -> Any:
    outcome = training("run", "--tracking-uri", uri, "--json")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert result["uri"].startswith("mlflow-artifacts:/")
    assert training("promote", "iris-classifier", "--tracking-uri", uri).code == 0
    assert training("evaluate", "iris-classifier@production", "--tracking-uri", uri).code == 0
    down = mlflow.artifacts.download_artifacts("models:/iris-classifier@production", dst_path=str(folder / "down"))
    # MLflow adds this file, which is not a part of the version.
    (Path(down) / "registered_model_meta").unlink()
    command = f"{BY_HAND} | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=down, capture_output=True, text=True, check=True).stdout
    assert f"sha256-v2:{printed.split()[0]}" == result["digest"]
    example = mlflow.models.Model.load(down).load_input_example(down)
    answers = mlflow.pyfunc.load_model(f"models:/iris-classifier/{result['version']}").predict(example)
    assert answers[0] in ("setosa", "versicolor", "virginica")
    return result


def leaves_nothing_behind(training: Command, uri: str, broken_uri: str, name: str) -> None:
    outcome = training("run", "--name", name, "--tracking-uri", broken_uri)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == f"error: MLflow at {broken_uri} keeps failing with internal errors (500)."
    client = MlflowClient(uri, uri)
    assert client.search_registered_models(f"name='{name}'") == []
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def leaves_what_there_was(uri: str, lossy_uri: str, last: Any) -> None:
    """The server carries out the request, but its answer is lost."""
    client = MlflowClient(uri, uri)
    run = client.create_run(client.get_run(last["run_id"]).info.experiment_id).info.run_id
    with pytest.raises(OutageError, match="keeps failing with internal errors"):
        Registry(Tracking(lossy_uri)).register(last["name"], last["model_id"], run, {"release": "v1.9.0"}, "")
    versions = Registry(Tracking(uri)).versions(last["name"])
    assert [(each.version, "candidate" in each.aliases) for each in versions] == [("2", True), ("1", False)]


def test_an_mlflow_that_is_down_is_named(training: Command) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"
    for arguments in (("run",), ("list", "x"), ("promote", "x"), ("evaluate", "x@y")):
        outcome = training(*arguments, "--tracking-uri", address)
        assert outcome.code == 1
        assert outcome.err.splitlines()[-1].startswith("error: MLflow at http://127.0.0.1:")
        assert "cannot be reached: connection refused." in outcome.err
        assert "secret" not in outcome.err


def test_an_mlflow_that_hangs_ends_in_time(training: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = training("run", "--tracking-uri", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert outcome.code == 1
    assert "cannot be reached: timed out." in outcome.err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "requires a password (401): set MLFLOW_TRACKING_USERNAME"),
        (403, "refuses this client (403)"),
    ],
)
def test_a_server_that_refuses_this_client_is_named(training: Command, status: int, said: str, capsys: Any) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        do_POST = do_GET  # noqa: N815 # http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        code = execute(["list", "x", "--tracking-uri", f"http://127.0.0.1:{refusing.server_port}"])
        refusing.shutdown()
    assert code == 1
    assert said in capsys.readouterr().err
