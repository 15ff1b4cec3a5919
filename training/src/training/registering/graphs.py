"""An ONNX graph that was made elsewhere, with the methods of an estimator."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from modelformat.mlmodel import Task
from modelformat.session import open_session
from training.registering.errors import UnfitError

_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


class GraphModel:
    """A graph with one input of numbers, [rows, columns], and the outputs of a classifier or a regressor."""

    def __init__(self, path: Path) -> None:
        """Load a graph.

        Raises:
            UnfitError: It has other inputs or outputs.
        """
        self.graph = onnx.load(str(path))
        self._session = open_session(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in ("tensor(float)", "tensor(double)") or len(inputs[0].shape) != 2:
            told = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise UnfitError(f"its graph takes {told}; it must take one matrix of numbers, [rows, columns]")
        self._input, self._dtype = inputs[0].name, np.float32 if "float" in inputs[0].type else np.float64
        if isinstance(inputs[0].shape[1], int):
            self.n_features_in_ = inputs[0].shape[1]
        self.task: Task = "regression"
        labels = self._labels()
        if len(outputs) > 1 or labels:
            if len(labels) < 2:
                raise UnfitError("its graph has several outputs, but names no classes")
            self.task = "classification"
            self.classes_ = np.asarray(labels)

    def predict(self, rows: Any) -> np.ndarray:
        """Return labels or values; shape [rows]."""
        return np.asarray(self._run(rows)[0]).reshape(len(rows), -1)[:, 0]

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return probabilities, shape [rows, classes]."""
        found = self._run(rows)[1]
        if isinstance(found, list):
            return np.array([[row[label] for label in self.classes_.tolist()] for row in found])
        return np.asarray(found)

    def _run(self, rows: Any) -> list[Any]:
        found: list[Any] = self._session.run(None, {self._input: np.asarray(rows).astype(self._dtype)})
        return found

    def _labels(self) -> list[Any]:
        for node in self.graph.graph.node:
            for attribute in node.attribute:
                if attribute.name in _LABELS:
                    found: list[Any] = [text.decode() for text in attribute.strings] or [*attribute.ints]
                    if found:
                        return found
        return []
