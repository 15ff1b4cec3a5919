"""Proves that the artifact folder is as docs/model-format.md says, for MLflow's loaders and for a shell."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import Model

from modelformat.digest import content_digest
from training import models
from training.baseline import measure_baseline
from training.bundle import Bundle, BundleError, BundleWriter
from training.contract import Contract
from training.data import Dataset, load_dataset
from training.onnx_twin import Twin, to_onnx

pytestmark = pytest.mark.slow


def write(dataset: Dataset, folder: Path, model: str | None = None, **params: int) -> tuple[BundleWriter, Bundle]:
    pipeline = models.build(model or models.default_model(dataset.task), dataset.task, params, seed=1)
    models.fit(pipeline, dataset.rows, dataset.truth)
    twin = to_onnx(pipeline, dataset.columns, classifier=bool(dataset.classes))
    scores = Twin(twin).scores(dataset.rows)
    baseline = measure_baseline(dataset.columns, dataset.rows, scores, dataset.classes)
    writer = BundleWriter(pipeline, twin, baseline, dataset)
    writer.save_model(str(folder), Model(), validate_serving_input=False)
    return writer, Bundle(folder)


def test_the_folder_is_as_documented(tmp_path: Path) -> None:
    writer, bundle = write(load_dataset("iris"), tmp_path / "model")
    description = yaml.safe_load((bundle.folder / "MLmodel").read_text())
    assert {"python_function", "sklearn", "onnx"} == set(description["flavors"])
    assert description["flavors"]["sklearn"]["pickled_model"] == "model.skops"
    assert description["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert description["flavors"]["onnx"]["data"] == "model.onnx"
    assert description["metadata"] == {
        "task": "classification",
        "classes": ["setosa", "versicolor", "virginica"],
        "target": "species",
    }
    files = {path.name for path in bundle.folder.iterdir()}
    assert {"MLmodel", "model.skops", "model.onnx", "baseline.json", "input_example.json", "requirements.txt"} <= files
    assert not any(name.endswith(".pkl") for name in files)
    pinned = (bundle.folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in pinned} == {"mlflow", "scikit-learn", "skops", "numpy"}
    size = sum(path.stat().st_size for path in bundle.folder.iterdir() if path.name != "MLmodel")
    assert size < description["model_size_bytes"]
    assert writer.digest == bundle.digest() == content_digest(bundle.folder)


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.filterwarnings("ignore:Saved model .*:UserWarning")
@pytest.mark.parametrize(
    ("data", "model", "params"),
    [
        ("iris", "random-forest", {"n_estimators": 5}),
        ("wine", "hist-gradient-boosting", {"max_iter": 5}),
        ("diabetes", "ridge", {}),
    ],
)
def test_pyfunc_and_twin_answer_alike(tmp_path: Path, data: str, model: str, params: dict[str, int]) -> None:
    dataset = load_dataset(data)
    _, bundle = write(dataset, tmp_path / "model", model, **params)
    loaded = mlflow.pyfunc.load_model(str(bundle.folder))
    answers = loaded.predict(pd.DataFrame(dataset.rows, columns=list(dataset.features)))
    scores = bundle.twin.scores(dataset.rows)
    if dataset.classes:
        assert (bundle.labels[scores.argmax(axis=1)] == answers).all()
    else:
        assert np.abs(scores[:, 0] - answers).max() < 1e-3
    assert bundle.contract == Contract(
        dataset.task, dataset.classes, tuple((name, "double") for name in dataset.features)
    )


@pytest.mark.parametrize(("labels", "kind"), [((0, 1), "long"), ((False, True), "boolean"), (("a", "b"), "string")])
def test_labels_keep_their_type(tmp_path: Path, blobs: pd.DataFrame, labels: tuple[object, object], kind: str) -> None:
    blobs["kind"] = np.repeat(np.array(labels), 30)
    blobs.to_csv(tmp_path / "blobs.csv", index=False)
    _, bundle = write(load_dataset(str(tmp_path / "blobs.csv"), "kind"), tmp_path / "model")
    assert bundle.contract.classes == labels
    assert [type(label) for label in bundle.contract.classes] == [type(label) for label in labels]
    assert f'"type": "{kind}"' in yaml.safe_load((bundle.folder / "MLmodel").read_text())["signature"]["outputs"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no MLmodel"):
        Bundle(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {}}\n")
    with pytest.raises(BundleError, match="not written by this pipeline"):
        Bundle(tmp_path)
    _, bundle = write(load_dataset("iris"), tmp_path / "model")
    (bundle.folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"model\.onnx cannot be loaded"):
        Bundle(bundle.folder)
    (bundle.folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        Bundle(bundle.folder)
