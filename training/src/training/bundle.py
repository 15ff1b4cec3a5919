"""A model's artifact folder (docs/model-format.md): written for MLflow, and read back for the gate."""

from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.sklearn import save_model as save_sklearn_model
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

from modelformat.baseline import FILE as BASELINE_FILE
from modelformat.baseline import Baseline
from modelformat.columns import KINDS, SIGNATURE_TYPES, Kind
from modelformat.digest import content_digest
from modelformat.mlmodel import FILE, ONNX_FILE, SKOPS_FILE, Labels
from training.baseline import encoded
from training.boosters import package_of, predicted_labels
from training.contract import contract_of
from training.data import Dataset
from training.kinds import Column, as_asked, as_frame, missing
from training.labels import places_of, unwrapped
from training.models import TRUSTED_TYPES, quantile_of
from training.onnx_twin import Twin, UnusableGraphError
from training.reproducible import normalise_skops

_LABEL_TYPES = {str: "string", int: "long", bool: "boolean"}


class BundleError(Exception):
    """A folder is not a model in the documented format."""


class BundleWriter:
    """Writes a model's folder. For MLflow it is a flavor, whose `save_model` is called by `mlflow.models.Model.log`."""

    def __init__(
        self, pipeline: Pipeline, twin: bytes, baseline: Baseline, dataset: Dataset, labels: Labels = "largest"
    ) -> None:
        self._pipeline = pipeline
        self._twin = twin
        self._baseline = baseline
        self._dataset = dataset
        self._labels = labels
        self.digest = ""

    def save_model(self, path: str, mlflow_model: Model, **_handed_on: object) -> None:
        """Write the folder and keep its content digest.

        Args:
            path: The folder, which must not exist.
            mlflow_model: MLflow's description of the model so far.
            _handed_on: Keywords of `Model.log`, which it passes on although they do not concern a flavor.
        """
        dataset, folder = self._dataset, Path(path)
        mlflow_model.metadata = metadata_of(dataset, self._labels)
        save_sklearn_model(
            self._pipeline,
            path,
            mlflow_model=mlflow_model,
            signature=signature_of(dataset),
            input_example=example_of(dataset),
            serialization_format="skops",
            skops_trusted_types=TRUSTED_TYPES,
            # All of them are given. Otherwise MLflow would load the model in a subprocess to find out.
            pip_requirements=[f"{name}=={version(name)}" for name in self._packages()],
        )
        normalise_skops(folder / SKOPS_FILE)
        (folder / ONNX_FILE).write_bytes(self._twin)
        (folder / BASELINE_FILE).write_bytes(encoded(self._baseline))
        add_onnx(mlflow_model)
        self.digest = finished(folder, mlflow_model)

    def _packages(self) -> list[str]:
        booster = package_of(unwrapped(self._pipeline)[0][-1])
        # XGBoost is also published without NVIDIA's libraries, as xgboost-cpu.
        names = [booster, f"{booster}-cpu"] if booster else []
        return ["mlflow", "scikit-learn", "skops", "numpy", *[name for name in names if _installed(name)][:1]]


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


class Bundle:
    """A downloaded artifact folder; `twin` is its ONNX graph, loaded."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's description.

        Raises:
            BundleError: It does not have the documented format, or has no ONNX twin.
        """
        self.folder = folder
        try:
            description = yaml.safe_load((folder / FILE).read_bytes())
            self.contract = contract_of(description)
            flavor = description["flavors"].get("onnx")
            self.target: str = description["metadata"]["target"]
            self.labels_by: Labels = description["metadata"].get("labels", "largest")
        except FileNotFoundError as error:
            raise BundleError("it has no MLmodel file") from error
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"its MLmodel file was not written by this pipeline ({error})") from error
        if flavor is None:
            raise BundleError("it has no ONNX form, which the evaluation needs")
        graph = folder / flavor["data"]
        if not graph.is_file():
            raise BundleError(f"{graph.name} is missing")
        try:
            self.twin = Twin(graph, self.labels_by)
        except UnusableGraphError as error:
            raise BundleError(f"{graph.name} cannot be loaded ({error})") from error

    @property
    def features(self) -> tuple[str, ...]:
        """Column names in the order of a row."""
        return tuple(name for name, _ in self.contract.features)

    @property
    def kinds(self) -> tuple[tuple[Kind, bool], ...]:
        """The kind of each column, and whether a value may be missing."""
        return tuple(
            (KINDS.get(kind, "number"), name in self.contract.optional) for name, kind in self.contract.features
        )

    @property
    def labels(self) -> np.ndarray:
        """The classes in the order of the score columns."""
        return np.asarray(self.contract.classes)

    @property
    def has_pipeline(self) -> bool:
        """Whether there is a scikit-learn form in addition to the graph."""
        return (self.folder / SKOPS_FILE).is_file()

    @cached_property
    def pipeline(self) -> Pipeline:
        """The scikit-learn pipeline, loaded by skops with this package's own list of trusted types."""
        return skops.io.load(self.folder / SKOPS_FILE, trusted=TRUSTED_TYPES)

    @cached_property
    def quantile(self) -> float | None:
        """The quantile of the target that the pipeline predicts, if it predicts one."""
        if self.contract.classes or not self.has_pipeline:
            return None
        return quantile_of(self.pipeline)

    def pipeline_scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the same scores as `Twin.scores`, computed by the pipeline."""
        if not self.contract.classes:
            return np.asarray(self.pipeline.predict(rows)).reshape(len(rows), 1)
        probable = [] if self.labels_by == "only" else [np.asarray(self.pipeline.predict_proba(rows))]
        if self.labels_by == "largest":
            return probable[0]
        return np.column_stack([*probable, places_of(self.pipeline_labels(rows), self.contract.classes)])

    def pipeline_labels(self, rows: np.ndarray) -> np.ndarray:
        """Return the labels that the pipeline predicts, shape [rows]."""
        return predicted_labels(self.pipeline, rows, self.labels)

    def digest(self) -> str:
        """Return the folder's content digest."""
        return content_digest(self.folder)


def metadata_of(dataset: Dataset, labels: Labels = "largest") -> dict[str, Any]:
    """Return the metadata of an MLmodel file."""
    found: dict[str, Any] = {"task": dataset.task, "target": dataset.target}
    if dataset.classes:
        found["classes"] = list(dataset.classes)
    if labels != "largest":
        found["labels"] = labels
    if any(column != Column(column.name) for column in dataset.columns):
        found["columns"] = [column.described() for column in dataset.columns]
    return found


def add_onnx(mlflow_model: Model) -> None:
    """Record in the description that the folder has an ONNX form."""
    mlflow_model.add_flavor("onnx", onnx_version=version("onnx"), data=ONNX_FILE, providers=["CPUExecutionProvider"])


def finished(folder: Path, mlflow_model: Model) -> str:
    """Write the description into an otherwise complete folder, and return the folder's content digest."""
    mlflow_model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    mlflow_model.save(str(folder / FILE))
    return content_digest(folder)


def example_of(dataset: Dataset) -> pd.DataFrame:
    """Return a row without missing values and, if there are any, one with missing values, as a caller writes them."""
    gaps = np.zeros(len(dataset.rows), dtype=bool)
    for index, column in enumerate(dataset.columns):
        if column.optional:
            gaps |= missing(column, dataset.rows, index)
    chosen = list(dict.fromkeys([int(gaps.argmin()), int(gaps.argmax())]))
    frame = as_frame(dataset.columns, dataset.rows[chosen])
    asked = [as_asked(dataset.columns, dataset.rows[row]) for row in chosen]
    for index, column in enumerate(dataset.columns):
        if column.kind == "number":
            frame[column.name] = [row[index] for row in asked]
    return frame.astype(object).where(frame.notna(), None) if gaps.any() else frame


def signature_of(dataset: Dataset) -> ModelSignature:
    """Return MLflow's signature: what callers send and get."""
    output = _LABEL_TYPES[type(dataset.classes[0])] if dataset.classes else "double"
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(SIGNATURE_TYPES[column.kind], column.name, required=not column.optional)
                for column in dataset.columns
            ]
        ),
        outputs=Schema([ColSpec(output, dataset.target)]),
    )
