"""A model that does not fit its files is refused when it is opened: a wrong label looks as good as a right one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from serving.errors import ModelUnusableError
from serving.opening import Opened, open_folder
from serving.runtimes.base import RuntimeOptions
from serving.runtimes.onnx_labels import graph_labels

SWAPPED = [CLASSES[1], CLASSES[0], CLASSES[2]]


def opened(folder: Path, **options: Any) -> Opened:
    return open_folder(folder, RuntimeOptions(**options))


def rewrite(folder: Path, **metadata: Any) -> None:
    path = folder / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["metadata"].update(metadata)
    path.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_classes_in_another_order_than_the_models_are_refused(tmp_path: Path, runtime: Any) -> None:
    write_bundle(tmp_path)
    opened(tmp_path, prefer=runtime)
    rewrite(tmp_path, classes=SWAPPED)
    with pytest.raises(ModelUnusableError, match=r"\[versicolor, setosa, virginica\] in metadata.classes, but its"):
        opened(tmp_path, prefer=runtime)


def test_names_for_classes_that_the_model_only_numbers_are_accepted(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    write_bundle(tmp_path, estimator=LogisticRegression(max_iter=1000).fit(rows, labels))
    rewrite(tmp_path, classes=SWAPPED)
    assert opened(tmp_path).spec.classes == tuple(SWAPPED)
    rewrite(tmp_path, classes=[2, 1, 0])
    with pytest.raises(ModelUnusableError, match="wrong class"):
        opened(tmp_path)


def test_classes_in_another_order_than_the_baselines_are_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    features = [{"name": name, "edges": [1.0], "shares": [0.5, 0.5]} for name in COLUMNS]
    prediction = {"rows": 3, "shares": [0.2, 0.3, 0.5], "classes": SWAPPED}
    baseline = {"version": 1, "rows": 3, "features": features, "prediction": prediction}
    (tmp_path / "baseline.json").write_text(json.dumps(baseline))
    with pytest.raises(ModelUnusableError, match=r"but its baseline.json has \[versicolor"):
        opened(tmp_path)


def test_columns_in_another_order_than_the_models_are_refused(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    table = pd.DataFrame(rows, columns=list(reversed(COLUMNS)))
    write_bundle(
        tmp_path,
        onnx=False,
        estimator=LogisticRegression(max_iter=1000).fit(table, [CLASSES[label] for label in labels]),
    )
    with pytest.raises(ModelUnusableError, match="in that order"):
        opened(tmp_path)


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_another_number_of_columns_than_the_models_is_refused(tmp_path: Path, runtime: Any) -> None:
    write_bundle(tmp_path, example=False)
    path = tmp_path / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["signature"]["inputs"] = '[{"type": "double", "name": "only one"}]'
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ModelUnusableError, match=r"its signature has 1 column, but its .* takes 4"):
        opened(tmp_path, prefer=runtime)


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        RandomForestClassifier(3),
        KNeighborsClassifier(),
        GaussianNB(),
        AdaBoostClassifier(n_estimators=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_labels_of_graphs_are_found(tmp_path: Path, estimator: Any, named: bool, zipmap: bool) -> None:
    rows, labels = load_iris(return_X_y=True)
    fitted = estimator.fit(rows, [CLASSES[label] for label in labels] if named else labels)
    types = [("features", FloatTensorType([None, 4]))]
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(fitted, initial_types=types, options={"zipmap": zipmap}).SerializeToString())
    assert graph_labels(path) == (tuple(CLASSES) if named else (0, 1, 2))


@pytest.mark.parametrize("content", [b"\x00", b"\x3a\xff", b"\xff" * 100, b"\x3a\x03abc", b"\x38\x01", b"\x0b" * 9])
def test_a_file_that_is_not_a_graph_has_no_labels(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert graph_labels(tmp_path / "model.onnx") == ()


def logarithms(rows: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(rows)


def write_logarithmic(folder: Path, *first: str, example: bool) -> None:
    """Write an ONNX model that adds up the logarithms of the columns, after the operators in `first`."""
    write_bundle(folder, "diabetes", example=example)
    operators = [*first, "Log"]
    names = ["features", *(f"step{index}" for index in range(len(operators)))]
    steps = [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(operators)]
    graph = helper.make_graph(
        [*steps, helper.make_node("ReduceSum", [names[-1], "axes"], ["prediction"])],
        "logarithms",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 10])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def test_a_model_without_an_answer_to_zeros_is_tried_with_other_rows(tmp_path: Path) -> None:
    write_logarithmic(tmp_path, example=False)
    assert opened(tmp_path).example == (1.0,) * 10
    features = [{"name": f"column {index}", "edges": [2.0, 4.0], "shares": [0.1, 0.8, 0.1]} for index in range(10)]
    baseline = {"version": 1, "rows": 9, "features": features, "prediction": {"rows": 9, "shares": [1], "edges": []}}
    (tmp_path / "baseline.json").write_text(json.dumps(baseline))
    assert opened(tmp_path).example == (3.0,) * 10


def test_an_estimator_that_refuses_zeros_is_tried_with_other_rows_and_gives_nan_for_zeros(tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    steps = make_pipeline(FunctionTransformer(logarithms), LogisticRegression(max_iter=1000))
    estimator = steps.fit(rows, [CLASSES[label] for label in labels])
    write_bundle(tmp_path, onnx=False, estimator=estimator, example=False)
    trusted = frozenset({f"{logarithms.__module__}.logarithms"})
    found = opened(tmp_path, extra_trusted_types=trusted)
    assert found.example == (1.0,) * 4
    answer = found.runtime.run(np.array([SETOSA, [0.0] * 4, SETOSA]))
    np.testing.assert_allclose(answer[[0, 2]], estimator.predict_proba([SETOSA] * 2))
    assert np.isnan(answer[1]).all()


@pytest.mark.parametrize("example", [True, False])
def test_a_model_without_any_answer_is_refused_if_it_has_an_example(tmp_path: Path, example: bool) -> None:
    write_logarithmic(tmp_path, "Abs", "Neg", example=example)
    if example:
        with pytest.raises(ModelUnusableError, match="not a finite number"):
            opened(tmp_path)
    else:
        assert opened(tmp_path).example == (0.0,) * 10
