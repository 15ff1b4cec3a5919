"""Small model files that take the time or the memory of the process that opens them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
import yaml
from onnx import TensorProto, helper
from sklearn.dummy import DummyClassifier

from modelformat.digest import content_digest
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA


def write_endless(folder: Path) -> str:
    """Write a version whose ONNX graph loops for ever, and return its digest."""
    _write_mlmodel(folder, {"onnx": {"data": "model.onnx"}})
    (folder / "model.onnx").write_bytes(endless_graph())
    return content_digest(folder)


def write_swollen(folder: Path, megabytes: int = 800) -> str:
    """Write a version whose skops file is small, but takes `megabytes` MB in memory, and return its digest."""
    _write_mlmodel(folder, {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}})
    model: Any = DummyClassifier().fit(np.zeros((3, 4)), CLASSES)
    model.ballast_ = np.zeros(megabytes * 2**17)
    skops.io.dump(model, folder / "model.skops", compression=zipfile.ZIP_DEFLATED)
    return content_digest(folder)


def endless_graph() -> bytes:
    """Return an ONNX graph that is valid, and never answers."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["go_on_out"]), helper.make_node("Identity", ["x"], ["x_out"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "always", "features"], ["probabilities"], body=body)],
        "endless",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)],
        [helper.make_tensor("always", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _write_mlmodel(folder: Path, flavors: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [{"type": "double", "name": name} for name in COLUMNS]
    mlmodel = {
        "flavors": flavors,
        "metadata": {"task": "classification", "classes": CLASSES},
        "signature": {"inputs": json.dumps(inputs), "outputs": "[]"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    (folder / "input_example.json").write_text(json.dumps({"columns": COLUMNS, "data": [SETOSA]}))
