"""A table with text and numbers: penguins, with a pipeline that is fitted like those in notebooks.

`training register` registers that pipeline for this project. This project also serves a model of only the numbers of
the same table, for comparison.
"""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import joblib
import mlflow.sklearn
import msgspec
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bench.peers import subjects
from bench.peers.loads import Plan, Request, Requests, in_json
from bench.peers.models import Model, Registered
from bench.peers.subjects import OURS, Place, Subject
from embedded.processes import Server, program

NAME = "penguins"
OURS_NUMBERS = "ours-numbers"
NUMBERS_ROW, V2_ROW, INVOCATIONS_ROW = Plan("row", 64).key, Plan("v2-row", 64).key, Plan("invocations-row", 64).key
PLANS = (
    Plan("row", 1),
    Plan("row", 16),
    Plan("row", 64),
    Plan("v2-row", 64),
    Plan("invocations-row", 64),
)
Row = Mapping[str, str | float]
_DATA = Path("models/penguins/penguins.csv")
_TARGET = "species"
_TEXTS = ["island", "sex"]
_NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
_ROW: Row = {
    "island": "Biscoe",
    "sex": "female",
    "bill_length_mm": 46.1,
    "bill_depth_mm": 13.2,
    "flipper_length_mm": 211.0,
    "body_mass_g": 4500.0,
}


class Penguins(msgspec.Struct, frozen=True):
    """The pipelines, fitted and registered."""

    model: Model
    """Of all columns."""
    numbers: Model
    """Of the numbers alone."""
    logged: Path
    """The pipeline of all columns as MLflow saves it, for MLflow's own server."""


def train(folder: Path) -> Penguins:
    """Fit both pipelines and register them with this project.

    Args:
        folder: empty; for the registry, the artifacts and the pickles.

    Raises:
        CalledProcessError: a registration failed; it has printed the reason.
    """
    table = pd.read_csv(_DATA)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    prepare = make_column_transformer((texts, _TEXTS), (numbers, _NUMBERS))
    whole = make_pipeline(prepare, LogisticRegression(max_iter=1000)).fit(table[[*_TEXTS, *_NUMBERS]], table[_TARGET])
    plain = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000))
    plain.fit(table[_NUMBERS].dropna(), table.loc[table[_NUMBERS].notna().all(axis=1), _TARGET])
    logged = folder / "logged"
    mlflow.sklearn.save_model(whole, logged, serialization_format="cloudpickle")
    return Penguins(_registered(NAME, whole, folder), _registered(f"{NAME}-numbers", plain, folder), logged)


def _registered(name: str, pipeline: object, folder: Path) -> Model:
    pickle = (folder / f"{name}.joblib").absolute()
    joblib.dump(pipeline, pickle)
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    data = pickle.with_suffix(".csv")
    table = pd.read_csv(_DATA)
    (table.dropna(subset=_NUMBERS) if name != NAME else table).to_csv(data, index=False)
    command = [program("training"), "register", str(pickle), "--data", str(data), "--target", _TARGET]
    options = ["--name", name, "--trust-pickle", "--json"]
    done = subprocess.run(
        [*command, *options], cwd=folder, env={**os.environ, **registry}, check=True, stdout=subprocess.PIPE
    )
    registered = msgspec.json.decode(done.stdout, type=Registered)
    return Model(name, Path(registered.uri), registered.digest, pickle, sorted(table[_TARGET].unique()))


def everything(penguins: Penguins) -> list[Subject]:
    """Return the servers to compare, this project first."""
    ours, fastapi = subjects.ours({}), subjects.fastapi("fastapi_penguins")
    numbers = {column: _ROW[column] for column in _NUMBERS}
    return [
        Subject(OURS, "this project", "serving", lambda _: _our_requests(_ROW), ours),
        Subject(
            OURS_NUMBERS,
            "this project, the four numbers alone",
            "serving",
            lambda _: _our_requests(numbers, penguins.numbers.name),
            _with(penguins.numbers, ours),
        ),
        Subject("mlserver", "MLServer", "mlserver", _mlserver_requests, subjects.mlserver),
        Subject("fastapi-pandas", "FastAPI, pandas", "fastapi", lambda _: in_json(row=("/predict", _ROW)), fastapi),
        Subject("mlflow", "mlflow models serve", "mlflow", _mlflow_requests, _mlflow(penguins.logged)),
    ]


def _with(model: Model, server: Callable[[Place], Server]) -> Callable[[Place], Server]:
    return lambda place: server(msgspec.structs.replace(place, model=model))


def _mlflow(folder: Path) -> Callable[[Place], Server]:
    return lambda place: subjects.mlflow(
        msgspec.structs.replace(place, model=msgspec.structs.replace(place.model, folder=folder))
    )


def _our_requests(row: Row, name: str = NAME) -> Requests:
    own = in_json(row=("/predict", {"features": row}))
    return {**own, "v2-row": _v2(f"/v2/models/{name}/infer", row), "invocations-row": _invocations(row)}


def _mlserver_requests(_model: str) -> Requests:
    request = _v2("/v2/models/iris/infer", _ROW, {"content_type": "pd"})
    return {"row": request, "v2-row": request}


def _mlflow_requests(_model: str) -> Requests:
    request = _invocations(_ROW)
    return {"row": request, "invocations-row": request}


def _invocations(row: Row) -> Request:
    body = {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
    return Request("/invocations", json.dumps(body).encode())


def _v2(path: str, row: Row, parameters: dict[str, str] | None = None) -> Request:
    tensors = [_tensor(name, value, texts=parameters is not None) for name, value in row.items()]
    return Request(path, json.dumps({"parameters": parameters or {}, "inputs": tensors}).encode())


def _tensor(name: str, value: object, *, texts: bool) -> dict[str, object]:
    """Return one column as a tensor. With `texts` it declares the type of its bytes, which MLServer needs."""
    text = isinstance(value, str)
    declared = {"parameters": {"content_type": "str"}} if text and texts else {}
    return {"name": name, "shape": [1, 1], "datatype": "BYTES" if text else "FP64", "data": [value], **declared}
