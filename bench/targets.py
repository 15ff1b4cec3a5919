"""The servers that are compared, and the requests for each."""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import msgspec

from embedded.processes import LOOPBACK, Server, free_port, program
from embedded.servers import serving

ROW = [5.1, 3.5, 1.4, 0.2]
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


def _nothing(_: str) -> bool:
    return True


class Target(msgspec.Struct, frozen=True):
    """One server to measure."""

    name: str
    """Its name in the table."""
    path: str
    body: bytes
    server: Callable[[Path, frozenset[int] | None], Server]
    """Returns the server, not started, from a folder for its files and the processors that it may use."""
    settled: Callable[[str], bool] = _nothing
    """Returns whether the server at an address has finished its work after it became ready."""


def uvicorn_options(port: int) -> list[str]:
    """Return uvicorn's options for the highest throughput, with as little work as possible outside the app."""
    return [
        "--host", LOOPBACK, "--port", str(port), "--loop", "uvloop", "--http", "httptools",
        "--no-access-log", "--no-server-header", "--log-level", "warning",
    ]  # fmt: skip


def ceiling() -> Target:
    """Return the app with a constant answer on bare uvicorn."""

    def server(folder: Path, cpus: frozenset[int] | None) -> Server:
        port = free_port()
        command = [program("uvicorn"), "bench.ceiling:app", *uvicorn_options(port)]
        return Server(
            "bare uvicorn",
            command,
            url=f"http://{LOOPBACK}:{port}",
            ready_path="/",
            log=folder / "ceiling.log",
            cpus=cpus,
        )

    return Target("bare uvicorn, constant answer", "/predict", json.dumps({"features": ROW}).encode(), server)


def this_project(tracking_uri: str, model: str, *, shadow: str = "", log: Mapping[str, str] | None = None) -> Target:
    """Return the serving API, which follows the alias `production` of `model` in the registry at `tracking_uri`.

    With `shadow`, a share of the requests, version 1 is its own shadow. With `log`, the settings of a prediction log,
    its answers are logged.
    """

    def server(folder: Path, cpus: frozenset[int] | None) -> Server:
        settings = {"MLFLOW_TRACKING_URI": tracking_uri, "MODEL_NAME": model, "MODEL_STAGE": "Production"}
        compared = {"SHADOW_VERSION": "1", "SHADOW_SAMPLE": shadow} if shadow else {}
        return serving(folder, {**settings, **compared, **(log or {})}, cpus=cpus)

    name = "this project (ONNX)"
    if shadow:
        name = f"this project, shadow at {float(shadow):.0%}"
    if log:
        name = f"this project, prediction log at {float(log['PREDICTION_LOG_SAMPLE']):.0%}"
    settled = _compares if shadow else _logs if log else _nothing
    return Target(name, "/predict", json.dumps({"features": ROW}).encode(), server, settled)


def _compares(url: str) -> bool:
    shadow = httpx.get(f"{url}/health", trust_env=False).json()["shadow"]
    if shadow["status"] == "failed":
        raise RuntimeError(f"the shadow cannot be loaded: {shadow['reason']}")
    return bool(shadow["status"] == "ready")


def _logs(url: str) -> bool:
    """Send requests, and return whether the store has a file. Before its first connection the log costs less."""
    for _ in range(20):
        httpx.post(f"{url}/predict", json={"features": ROW}, trust_env=False)
    written = re.search(
        r"^serving_prediction_log_bytes_total ([^0].*)$", httpx.get(f"{url}/metrics").text, re.MULTILINE
    )
    return bool(written)


def mlflow_models_serve(tracking_uri: str, model: str) -> Target:
    """Return MLflow's own scoring server for the same model version, with one worker like the others."""

    def server(folder: Path, cpus: frozenset[int] | None) -> Server:
        port = free_port()
        command = [
            program("mlflow"), "models", "serve", "--model-uri", f"models:/{model}@production",
            "--env-manager", "local", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        ]  # fmt: skip
        return Server(
            "mlflow models serve",
            command,
            url=f"http://{LOOPBACK}:{port}",
            ready_path="/ping",
            log=folder / "mlflow-models-serve.log",
            environment={
                "MLFLOW_TRACKING_URI": tracking_uri,
                # MLflow runs uvicorn's command, which also reads its options from environment variables.
                "UVICORN_ACCESS_LOG": "false",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            cpus=cpus,
        )

    body = {"dataframe_split": {"columns": COLUMNS, "data": [ROW]}}
    return Target("`mlflow models serve`", "/invocations", json.dumps(body).encode(), server)
