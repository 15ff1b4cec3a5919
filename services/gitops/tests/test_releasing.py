"""`gitops release`, on a real MLflow server and real git: what it pins, and that refusing writes nothing."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.servers import mlflow_server
from gitops.cli import execute
from gitops.environments import release_file
from gitops.errors import BadInputError, OutageError
from gitops.mlflow_registry import MlflowRegistry
from gitops.release import Model, read_release
from services.gitops.tests.conftest import DIGEST, git

IMAGE = f"registry.example.com/acme/serving:1.8.2@{DIGEST}"
STAGING = release_file("staging")
TAGS = {"gate": "passed", "digest": DIGEST, "release": "v1.0.0"}
METRICS = {"accuracy": 0.973684210526, "log_loss": 0.11, "cv_accuracy": 0.9, "f1/setosa": 1.0}


VERSION = {"name": "iris", "version": "1", "status": "READY", "run_id": "r1"}
ANSWERS = {
    "model-versions/get": {"model_version": {**VERSION, "tags": [{"key": k, "value": v} for k, v in TAGS.items()]}},
    "model-versions/get-download-uri": {"artifact_uri": "s3://mlflow/1/models/m-1"},
    "runs/get": {"run": {"data": {"metrics": [{"key": key, "value": value} for key, value in METRICS.items()]}}},
}
ANSWERS["registered-models/alias"] = ANSWERS["model-versions/get"]


@contextmanager
def answering(answer: Callable[[str, int], tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers by path and by how often it was asked before, and notes what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, len(asked))
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_mlflow(path: str, _before: int) -> tuple[int, bytes]:
    """What MLflow says of version 1, which passed its gate and is the candidate."""
    return 200, json.dumps(ANSWERS[path.removeprefix("/api/2.0/mlflow/").partition("?")[0]]).encode()


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """The address of a registry with one version."""
    with answering(as_mlflow) as (url, _):
        yield url


def release(*options: str) -> int:
    return execute(["release", "staging", *options])


def test_the_first_release_pins_all_of_it_and_commits_only_its_file(
    fork: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (fork / "apps" / "mlflow.yaml").write_text("# half-finished work\n")
    git(fork, "add", "apps/mlflow.yaml")
    options = ["--image", IMAGE, "--model", "iris@candidate", "--chart", "0.1.0", "--mlflow-url", model]
    assert release(*options, "--commit", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    pins = read_release((fork / STAGING).read_text(), "file")
    assert (pins.model.version, pins.model.digest, pins.model.uri) == ("1", DIGEST, "s3://mlflow/1/models/m-1")
    assert (pins.image.tag, pins.image.digest, pins.release.chart) == ("1.8.2", DIGEST, "0.1.0")
    assert pins.release.metrics == {"accuracy": 0.973684, "log_loss": 0.11}
    assert git(fork, "show", "--name-only", "--format=%s", said["commit"]).split("\n") == [
        "release(staging): image 1.8.2, iris 1, chart 0.1.0",
        "",
        str(STAGING),
    ]
    assert git(fork, "diff", "--cached", "--name-only") == "apps/mlflow.yaml"


def test_a_later_release_moves_only_what_it_names(fork: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert release("--image", IMAGE, "--model", "iris/1", "--chart", "0.1.0", "--mlflow-url", model) == 0
    before = (fork / STAGING).read_text()
    capsys.readouterr()
    assert release("--chart", "0.2.0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "environment": "staging",
        "file": str(STAGING),
        "changes": [{"pin": "chart", "before": "0.1.0", "after": "0.2.0"}],
        "commit": None,
    }
    assert (fork / STAGING).read_text() == before.replace("chart: 0.1.0", "chart: 0.2.0")
    assert release("--chart", "0.2.0", "--commit") == 0
    assert "pinned like that already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "iris"], "neither NAME/VERSION nor NAME@ALIAS"),
        (["--image", "registry.example.com/flora/serving:1.8.2"], "has no digest"),
        (["--chart", "main"], "--chart"),
        ([], "--image, --model or --chart"),
        (["--model", "iris/1", "--chart", "0.1.0"], "the first release needs"),
    ],
)
def test_what_cannot_be_pinned_is_refused_and_nothing_is_written(
    fork: Path, model: str, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release(*options, "--mlflow-url", model) == 2
    assert named in capsys.readouterr().err
    assert git(fork, "status", "--porcelain") == ""


def test_a_real_registry_gives_the_pins_of_a_version_that_passed_and_no_others(tmp_path: Path) -> None:
    """One test, so that one server is started: MLflow with clients that speak to the artifact store themselves."""
    with (
        mlflow_server(tmp_path, artifacts="s3://mlflow", proxied=False) as server,
        httpx.Client(base_url=f"{server.url}/api/2.0/mlflow", trust_env=False, timeout=30) as client,
    ):
        register(client, "registered-models/create", name="iris")
        register_version(client, TAGS, METRICS)
        register_version(client, {"digest": DIGEST, "gate": "failed"}, {})
        register_version(client, {"gate": "passed"}, {})
        register_version(client, TAGS, {}, source="gs://elsewhere/models/m-4")
        register(client, "registered-models/alias", name="iris", alias="candidate", version="1")

        registry = MlflowRegistry(server.url)
        found = registry.find("iris@candidate")
        assert found == registry.find("iris/1")
        assert found.model == Model(name="iris", version="1", digest=DIGEST, uri="s3://mlflow/1/models/m-1")
        assert found.metrics == {"accuracy": 0.973684, "log_loss": 0.11}
        refused = {
            "iris/2": "did not pass its gate",
            "iris/3": "has no content digest",
            "iris/4": "--no-serve-artifacts",
            "iris/99": "Model Version .* not found",
            "iris@nobody": "alias nobody not found",
            "roses/1": "Model Version .* not found",
        }
        for reference, why in refused.items():
            with pytest.raises(BadInputError, match=why):
                registry.find(reference)


def register_version(
    client: httpx.Client, tags: dict[str, str], metrics: dict[str, float], source: str = "s3://mlflow/1/models/m-1"
) -> None:
    run = register(client, "runs/create", experiment_id="0")["run"]["info"]["run_id"]
    for key, value in metrics.items():
        register(client, "runs/log-metric", run_id=run, key=key, value=value, timestamp=1)
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    register(client, "model-versions/create", name="iris", source=source, run_id=run, tags=listed)


def register(client: httpx.Client, endpoint: str, **body: object) -> dict[str, Any]:
    answer = client.post(endpoint, json=body)
    assert answer.is_success, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_an_environment_that_is_held_keeps_its_pins(fork: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert release("--image", IMAGE, "--model", "iris/1", "--chart", "0.1.0", "--mlflow-url", model) == 0
    held = (fork / STAGING).read_text().replace("hold: null", "hold: {reason: wrong answers for short petals}")
    (fork / STAGING).write_text(held)
    assert release("--chart", "0.2.0") == 2
    assert "wrong answers for short petals" in capsys.readouterr().err
    assert (fork / STAGING).read_text() == held


def test_an_unknown_environment_is_refused_with_those_there_are(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["release", "platform", "--chart", "0.1.0"]) == 2
    assert "there are: staging, production" in capsys.readouterr().err


def test_a_registry_that_is_busy_for_a_moment_is_asked_again() -> None:
    with answering(lambda path, before: as_mlflow(path, 0) if before else (503, b"starting")) as (url, asked):
        assert MlflowRegistry(url).find("iris/1").model.version == "1"
    assert len(asked) == 4


def test_a_registry_that_stays_away_is_given_up_with_its_address() -> None:
    with (
        answering(lambda *_: (503, b"")) as (url, asked),
        pytest.raises(OutageError, match=f"{url} answers 503, 4 times"),
    ):
        MlflowRegistry(url).find("iris/7")
    assert len(asked) == 4


def test_a_registry_that_asks_for_a_password_names_where_it_goes() -> None:
    with (
        answering(lambda *_: (401, b"You are not authenticated.")) as (url, _),
        pytest.raises(BadInputError, match="MLFLOW_TRACKING_PASSWORD"),
    ):
        MlflowRegistry(url).find("iris/7")


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{}", b'{"model_version": 7}'])
def test_something_else_at_the_address_is_no_mlflow(body: bytes) -> None:
    with answering(lambda *_: (200, body)) as (url, _), pytest.raises(OutageError, match="is no MLflow"):
        MlflowRegistry(url).find("iris/7")


def test_the_command_itself_is_installed() -> None:
    command = Path(sys.executable).with_name("gitops")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip()
