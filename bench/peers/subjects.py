"""The servers to compare: how each is started, with one worker, and the requests that it gets.

Access logs are off if the server has a setting for that. Metrics are at each server's default.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.peers import loads
from bench.peers.environments import Environment
from bench.peers.models import Model
from bench.targets import ROW, uvicorn_options
from embedded.processes import LOOPBACK, Server, free_port, free_ports

_APPS = Path(__file__).parent / "apps"


class Place(msgspec.Struct, frozen=True):
    """The context in which a server is started."""

    environment: Environment
    model: Model
    folder: Path
    """A separate empty folder for logs and settings."""
    cpus: frozenset[int] | None
    grpc_port: int = 0
    """The port for gRPC calls; 0 if none are sent."""


class Subject(msgspec.Struct, frozen=True):
    """One server to compare."""

    key: str
    name: str
    """Its name in tables and charts."""
    environment: str
    """The name of its environment."""
    requests: Callable[[str], loads.Requests]
    """Its requests, by the model's name."""
    server: Callable[[Place], Server]
    """Returns the server, not started."""


OURS, OURS_WITHOUT_DRIFT, RAW_ASGI = "ours", "ours-without-drift", "raw-asgi"


def everything() -> list[Subject]:
    """Return all servers, this project first."""
    no_drift = ours({"DRIFT_WINDOW_SECONDS": "0"})
    numpy, pandas = fastapi("fastapi_numpy"), fastapi("fastapi_pandas")
    plain, batchable = _bentoml("Plain"), _bentoml("Batchable")
    return [
        Subject(OURS, "this project", "serving", _our_requests, ours({})),
        Subject(OURS_WITHOUT_DRIFT, "this project, drift off", "serving", _predict_requests, no_drift),
        Subject(RAW_ASGI, "raw ASGI, msgspec, ONNX", "serving", _predict_requests, _raw_asgi),
        Subject("mlserver", "MLServer", "mlserver", _mlserver_requests, mlserver),
        Subject("kserve", "KServe", "kserve", _kserve_requests, kserve),
        Subject("bentoml", "BentoML", "bentoml", _bentoml_requests, plain),
        Subject("bentoml-batchable", "BentoML, batchable", "bentoml", _bentoml_requests, batchable),
        Subject("fastapi-numpy", "FastAPI, NumPy", "fastapi", _fastapi_numpy_requests, numpy),
        Subject("fastapi-pandas", "FastAPI, pandas", "fastapi", _fastapi_pandas_requests, pandas),
        Subject("mlflow", "mlflow models serve", "mlflow", _mlflow_requests, mlflow),
    ]


def _server(
    name: str,
    place: Place,
    command: Sequence[str],
    *,
    port: int,
    ready_path: str,
    environment: Mapping[str, str] | None = None,
) -> Server:
    program, *arguments = command
    programs = {"PATH": f"{place.environment.bin}{os.pathsep}{os.environ['PATH']}"}
    return Server(
        name,
        [str(place.environment.bin / program), *arguments],
        url=f"http://{LOOPBACK}:{port}",
        ready_path=ready_path,
        log=place.folder / "server.log",
        environment={**programs, "PEER_MODEL": str(place.model.pickle), **(environment or {})},
        cpus=place.cpus,
    )


def _predict_requests(_model: str) -> loads.Requests:
    return loads.in_json(("/predict", {"features": ROW}), ("/predict", {"instances": loads.batch()}))


def _our_requests(model: str) -> loads.Requests:
    infer = f"/v2/models/{model}/infer"
    return {**_predict_requests(model), **loads.v2_json(infer), **loads.v2_binary(infer), **loads.arrow("/predict")}


def ours(settings: Mapping[str, str]) -> Callable[[Place], Server]:
    """Return a function that creates this project's API, with additional settings."""

    def server(place: Place) -> Server:
        port = free_port()
        own = {
            "HOST": LOOPBACK,
            "PORT": str(port),
            "MODEL_DIR": str(place.folder / "models"),
            "MODEL_NAME": place.model.name,
            "MODEL_VERSION": "1",
            "MODEL_DIGEST": place.model.digest,
            "MODEL_URI": place.model.folder.as_uri(),
            **({"GRPC_PORT": str(place.grpc_port)} if place.grpc_port else {}),
        }
        command = ["serving", "run"]
        return _server(
            "this project", place, command, port=port, ready_path="/health/ready", environment={**own, **settings}
        )

    return server


def _raw_asgi(place: Place) -> Server:
    port = free_port()
    own = {"PEER_MODEL": str(place.model.folder / "model.onnx"), "PEER_CLASSES": ",".join(place.model.classes)}
    command = ["uvicorn", "--app-dir", str(_APPS), "raw_asgi:app", *uvicorn_options(port)]
    return _server("raw ASGI", place, command, port=port, ready_path="/", environment=own)


def _mlserver_requests(_model: str) -> loads.Requests:
    requests = loads.v2_json("/v2/models/iris/infer")
    return {"row": requests["v2-row"], "batch": requests["v2-batch"], **requests}


def mlserver(place: Place) -> Server:
    """Return MLServer with its scikit-learn runtime. It always serves the model under the name `iris`."""
    port, grpc, metrics = free_ports(3)
    grpc = place.grpc_port or grpc
    settings = {
        "host": LOOPBACK, "http_port": port, "grpc_port": grpc, "metrics_port": metrics,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.model.pickle)},
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    command = ["mlserver", "start", str(place.folder)]
    return _server("MLServer", place, command, port=port, ready_path="/v2/models/iris/ready")


def _kserve_requests(_model: str) -> loads.Requests:
    predict, infer = "/v1/models/iris:predict", "/v2/models/iris/infer"
    own = loads.in_json((predict, {"instances": [ROW]}), (predict, {"instances": loads.batch()}))
    return {**own, **loads.v2_json(infer), **loads.v2_binary(infer)}


def kserve(place: Place) -> Server:
    """Return KServe's server. It always serves the model under the name `iris`."""
    port = free_port()
    grpc = ["--grpc_port", str(place.grpc_port)] if place.grpc_port else ["--enable_grpc", "false"]
    command = ["python", str(_APPS / "kserve_sklearn.py"), "--http_port", str(port), *grpc]
    return _server("KServe", place, command, port=port, ready_path="/v2/models/iris/ready")


def _bentoml_requests(_model: str) -> loads.Requests:
    return loads.in_json(("/predict", {"rows": [ROW]}), ("/predict", {"rows": loads.batch()}))


def _bentoml(service: str) -> Callable[[Place], Server]:
    def server(place: Place) -> Server:
        port = free_port()
        command = [
            "bentoml", "serve", f"bento:{service}", "--working-dir", str(_APPS),
            "--host", LOOPBACK, "--port", str(port),
        ]  # fmt: skip
        own = {"BENTOML_HOME": str(place.folder), "BENTOML_DO_NOT_TRACK": "True"}
        return _server(f"BentoML {service}", place, command, port=port, ready_path="/readyz", environment=own)

    return server


def _fastapi_numpy_requests(_model: str) -> loads.Requests:
    return loads.in_json(("/predict", {"features": ROW}), ("/predict-batch", {"instances": loads.batch()}))


def _fastapi_pandas_requests(_model: str) -> loads.Requests:
    flowers = [_flower(row) for row in loads.batch()]
    return loads.in_json(("/predict", _flower(ROW)), ("/predict-batch", flowers))


def _flower(row: Sequence[float]) -> dict[str, float]:
    return dict(zip(("sepal_length", "sepal_width", "petal_length", "petal_width"), row, strict=True))


def fastapi(app: str) -> Callable[[Place], Server]:
    """Return a function that creates the FastAPI app of this module."""

    def server(place: Place) -> Server:
        port = free_port()
        command = ["uvicorn", "--app-dir", str(_APPS), f"{app}:app", *uvicorn_options(port)]
        return _server("FastAPI", place, command, port=port, ready_path="/health")

    return server


def _mlflow_requests(_model: str) -> loads.Requests:
    one, many = loads.dataframe([ROW]), loads.dataframe(loads.batch())
    return loads.in_json(("/invocations", one), ("/invocations", many))


def mlflow(place: Place) -> Server:
    """Return MLflow's own server for the model's folder."""
    port = free_port()
    command = [
        "mlflow", "models", "serve", "--model-uri", str(place.model.folder), "--env-manager", "local",
        "--host", LOOPBACK, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    # MLflow runs uvicorn's command, which also reads its options from environment variables.
    own = {"UVICORN_ACCESS_LOG": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return _server("mlflow models serve", place, command, port=port, ready_path="/ping", environment=own)
