"""The artifact folder of a model that was made elsewhere, in the format of docs/model-format.md."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from mlflow.models import Model
from msgspec import Struct

from modelformat.baseline import FILE as BASELINE_FILE
from modelformat.baseline import Baseline
from modelformat.mlmodel import ONNX_FILE, SKOPS_FILE
from training.baseline import encoded
from training.bundle import add_onnx, example_of, finished, metadata_of, signature_of
from training.data import Dataset
from training.registering.messages import Outcome

_REQUIREMENTS = {
    "onnx": ("mlflow", "onnx", "onnxruntime", "numpy"),
    "skops": ("mlflow", "scikit-learn", "skops", "numpy"),
}


class Form(Struct, frozen=True):
    """The content of a folder: the model's file, the baseline, and the rows that describe the model."""

    file: Path
    outcome: Outcome
    dataset: Dataset
    baseline: Baseline


class ForeignWriter:
    """Writes a model's folder. For MLflow it is a flavor, whose `save_model` is called by `mlflow.models.Model.log`."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.digest = ""

    def save_model(self, path: str, mlflow_model: Model, **_handed_on: object) -> None:
        """Write the folder and keep its content digest.

        Args:
            path: The folder, which must not exist.
            mlflow_model: MLflow's description of the model so far.
            _handed_on: Keywords of `Model.log`, which it passes on although they do not concern a flavor.
        """
        form, folder = self._form, Path(path)
        folder.mkdir(parents=True)
        dataset, kind = form.dataset, form.outcome.form
        mlflow_model.metadata = metadata_of(dataset, form.outcome.labels)
        mlflow_model.signature = signature_of(dataset)
        file = ONNX_FILE if kind == "onnx" else SKOPS_FILE
        shutil.copyfile(form.file, folder / file)
        packages = [f"{name}=={version(name)}" for name in _REQUIREMENTS[kind]]
        (folder / "requirements.txt").write_text("\n".join(packages) + "\n")
        (folder / BASELINE_FILE).write_bytes(encoded(form.baseline))
        _save_example(mlflow_model, dataset, folder)
        if kind == "onnx":
            add_onnx(mlflow_model)
        else:
            mlflow_model.add_flavor(
                "sklearn",
                pickled_model=file,
                sklearn_version=version("scikit-learn"),
                serialization_format="skops",
                skops_trusted_types=list(form.outcome.untrusted),
                code=None,
            )
        mlflow_model.add_flavor(
            "python_function", loader_module=f"mlflow.{'onnx' if kind == 'onnx' else 'sklearn'}", **_pyfunc(file)
        )
        self.digest = finished(folder, mlflow_model)


def _pyfunc(file: str) -> Mapping[str, Any]:
    return {"data": file, "model_path": file, "env": {"virtualenv": "requirements.txt"}}


def _save_example(mlflow_model: Model, dataset: Dataset, folder: Path) -> None:
    frame = example_of(dataset)
    content = {"columns": list(dataset.features), "data": msgspec.to_builtins(frame.astype(object).to_numpy().tolist())}
    (folder / "input_example.json").write_bytes(msgspec.json.encode(content))
    mlflow_model.saved_input_example_info = {
        "artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split",
    }  # fmt: skip
