"""Small real models in folders as in docs/model-format.md, written without MLflow."""

import json
import pickle
from pathlib import Path
from typing import Any, Literal

import skops.io
import yaml
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelformat.digest import content_digest

Kind = Literal["iris", "diabetes"]
SETOSA = [5.1, 3.5, 1.4, 0.2]
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
CLASSES = ["setosa", "versicolor", "virginica"]


def fitted(kind: Kind, strength: float = 1.0) -> Any:
    """Return a fitted pipeline. Another `strength` gives another model."""
    if kind == "iris":
        rows, labels = load_iris(return_X_y=True)
        names = [CLASSES[label] for label in labels]
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(rows, names)
    rows, values = load_diabetes(return_X_y=True)
    return make_pipeline(StandardScaler(), LinearRegression()).fit(rows, values)


def write_bundle(
    folder: Path,
    kind: Kind = "iris",
    *,
    estimator: Any = None,
    onnx: bool = True,
    saved_as: Literal["skops", "pickle", ""] = "skops",
    column_type: str = "double",
    strength: float = 1.0,
    example: bool = True,
) -> str:
    """Write a model into `folder`, and return its content digest."""
    folder.mkdir(parents=True, exist_ok=True)
    model = estimator or fitted(kind, strength)
    columns = COLUMNS if kind == "iris" else [f"column {index}" for index in range(10)]
    flavors: dict[str, Any] = {}
    if onnx:
        (folder / "model.onnx").write_bytes(_onnx(model, kind, len(columns)))
        flavors["onnx"] = {"data": "model.onnx"}
    if saved_as == "skops":
        skops.io.dump(model, folder / "model.skops")
        flavors["sklearn"] = {"pickled_model": "model.skops", "serialization_format": "skops"}
    elif saved_as == "pickle":
        (folder / "model.pkl").write_bytes(pickle.dumps(model))
        flavors["sklearn"] = {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}
    inputs = [{"type": column_type, "name": name, "required": True} for name in columns]
    metadata = {"task": "classification", "classes": CLASSES, "target": "species"}
    mlmodel = {
        "flavors": flavors,
        "metadata": metadata if kind == "iris" else {"task": "regression", "target": "progression"},
        "signature": {"inputs": json.dumps(inputs), "outputs": "[]", "params": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    if example:
        row = SETOSA if kind == "iris" else [0.01] * 10
        (folder / "input_example.json").write_text(json.dumps({"columns": columns, "data": [row]}))
    return content_digest(folder)


def _onnx(model: Any, kind: Kind, columns: int) -> bytes:
    graph = to_onnx(
        model,
        initial_types=[("features", FloatTensorType([None, columns]))],
        options={"zipmap": False} if kind == "iris" else None,
    )
    if kind == "diabetes":
        graph.graph.node[-1].output[0] = "prediction"
        graph.graph.output[0].name = "prediction"
    content: bytes = graph.SerializeToString()
    return content
