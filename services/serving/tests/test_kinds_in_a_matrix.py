"""Kinds without text stay one matrix: dates, whole numbers and missing values in a table of numbers, unrounded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import yaml
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelformat.digest import content_digest
from services.serving.tests.conftest import Bundle, running, until_ready
from serving.errors import ModelUnusableError
from serving.opening import open_folder
from serving.runtimes.base import RuntimeOptions

TYPES = {"size": "double", "visits": "long", "member": "boolean", "since": "datetime"}
OPTIONAL = {"size", "member"}
SINCE = 1_700_000_000.0
ROW: dict[str, Any] = {"size": 1.5, "visits": 2**24 + 1, "member": True, "since": "2023-11-14T22:13:20Z"}


def table(rows: int = 200) -> Any:
    chance = np.random.default_rng(3)
    found = np.stack(
        [
            chance.normal(size=rows),
            2**24 + chance.integers(0, 5, rows),
            chance.integers(0, 2, rows),
            SINCE + chance.integers(0, 60, rows),
        ],
        axis=1,
    ).astype(np.float64)
    found[chance.random(rows) < 0.1, 0] = np.nan
    found[chance.random(rows) < 0.1, 2] = np.nan
    return found


def fitted() -> Any:
    rows = table()
    odd = rows[:, 1] % 2 + (rows[:, 3] - SINCE) / 60 + np.nan_to_num(rows[:, 0]) > 1
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows, np.where(odd, "a", "b"))


def twin() -> Any:
    """Return the ONNX twin, which fills missing values and centres in double precision."""
    imputer, scaler, model = (step for _, step in fitted().steps)
    made = to_onnx(model, initial_types=[("scaled", FloatTensorType([None, 4]))], options={"zipmap": False})
    for name, values in (("fill", imputer.statistics_), ("mean", scaler.mean_), ("scale", scaler.scale_)):
        made.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.DOUBLE, [1, 4], values))
    first = [
        onnx.helper.make_node("IsNaN", ["features"], ["gaps"]),
        onnx.helper.make_node("Where", ["gaps", "fill", "features"], ["filled"]),
        onnx.helper.make_node("Sub", ["filled", "mean"], ["moved"]),
        onnx.helper.make_node("Div", ["moved", "scale"], ["divided"]),
        onnx.helper.make_node("Cast", ["divided"], ["scaled"], to=onnx.TensorProto.FLOAT),
    ]
    rest = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*first, *rest])
    made.graph.input[0].name = "features"
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return made


def write(folder: Path, graph: Any = None) -> str:
    onnx.save(graph or twin(), folder / "model.onnx")
    inputs = [{"name": name, "type": of, "required": name not in OPTIONAL} for name, of in TYPES.items()]
    metadata = {"task": "classification", "classes": ["a", "b"], "target": "kind"}
    document = {
        "flavors": {"onnx": {"data": "model.onnx"}},
        "metadata": metadata,
        "signature": {"inputs": json.dumps(inputs)},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    (folder / "input_example.json").write_text(json.dumps([ROW]))
    return content_digest(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("matrix")
    return Bundle(folder, write(folder))


@pytest.fixture(scope="module")
def api(bundle: Bundle) -> Iterator[httpx.Client]:
    with running(bundle.pin()) as client:
        until_ready(client)
        yield client


def requested(row: Any) -> list[Any]:
    size, visits, member, since = (None if np.isnan(value) else float(value) for value in row)
    return [size, visits, None if member is None else bool(member), since]


def test_all_columns_are_one_matrix_in_double_precision(bundle: Bundle) -> None:
    opened = open_folder(bundle.folder, RuntimeOptions())
    rows = table()
    read = opened.reader.many([requested(row) for row in rows])
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, rows)
    np.testing.assert_allclose(opened.runtime.run(read), fitted().predict_proba(rows), atol=1e-5)
    assert opened.reader.one(ROW).tolist() == [[1.5, 2**24 + 1, 1.0, SINCE]]


def test_single_precision_is_not_enough_for_a_moment(tmp_path: Path) -> None:
    steps = fitted()[1:]
    write(tmp_path, to_onnx(steps, initial_types=[("features", FloatTensorType([None, 4]))], options={"zipmap": False}))
    with pytest.raises(ModelUnusableError, match=r"'since' is a datetime, .* `features` .* must be a tensor\(double\)"):
        open_folder(tmp_path, RuntimeOptions())


def test_whole_numbers_are_exact_or_refused(api: httpx.Client) -> None:
    answers = [
        api.post("/predict", json={"features": {**ROW, "visits": 2**24 + more}}).json()["probability"]
        for more in (1, 2)
    ]
    assert answers[0] != answers[1]
    answer = api.post("/predict", json={"features": {**ROW, "visits": 2**53 + 1}})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["reason"].startswith(
        "expected a whole number between -9007199254740992 and 9007199254740992, because the"
    )


def test_one_tensor_with_gaps(api: httpx.Client) -> None:
    described = api.get("/v2/models/iris-classifier").json()["inputs"]
    assert [tensor["datatype"] for tensor in described] == ["FP64", "INT64", "FP64", "FP64"]
    rows = table()[:20]
    data = [[None if np.isnan(value) else value for value in row] for row in rows.tolist()]
    body = {"name": "features", "datatype": "FP64", "shape": [20, 4], "data": data}
    answer = api.post("/v2/models/iris-classifier/infer", json={"inputs": [body]})
    found = np.array(answer.json()["outputs"][1]["data"]).reshape(-1, 2)
    np.testing.assert_allclose(found, fitted().predict_proba(rows), atol=1e-5)
    data[3][1] = None
    answer = api.post("/v2/models/iris-classifier/infer", json={"inputs": [body]})
    assert "expected a whole number between" in answer.json()["error"]
    assert "in row 3 (column 'visits')" in answer.json()["error"]
