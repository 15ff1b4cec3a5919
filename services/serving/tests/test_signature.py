"""MLmodel files become typed specs, and those that cannot be served are refused with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.serving.tests import mixed
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA
from services.serving.tests.conftest import Bundle
from services.serving.tests.mixed import write_mixed
from serving.columns import LARGEST_NUMBER
from serving.errors import ModelUnusableError
from serving.signature import read_example, read_spec


def mlmodel(inputs: Any, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "metadata": {"task": "classification", "classes": ["a", "b"], "target": "t"},
        "signature": {"inputs": json.dumps(inputs)},
        "flavors": {"onnx": {"data": "model.onnx"}},
    }
    return document | changes


def write(folder: Path, document: Any) -> Path:
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


def column(kind: str, name: str = "x") -> dict[str, Any]:
    return {"type": kind, "name": name, "required": True}


def test_a_model_as_it_is_registered(iris: Bundle) -> None:
    spec = read_spec(iris.folder)
    assert spec.task == "classification"
    assert list(spec.classes) == CLASSES
    assert [found.name for found in spec.columns] == COLUMNS
    assert spec.columns[0].high == LARGEST_NUMBER
    assert (spec.onnx_file, spec.sklearn_file, spec.sklearn_format) == ("model.onnx", "model.skops", "skops")
    assert not spec.mixed


@pytest.mark.parametrize("classes", [["a", "b"], [1, 2, 3], [False, True]])
def test_labels_keep_their_type(tmp_path: Path, classes: list[Any]) -> None:
    document = mlmodel([column("double")], metadata={"task": "classification", "classes": classes})
    found = read_spec(write(tmp_path, document)).classes
    assert list(found) == classes
    assert {type(label) for label in found} == {type(classes[0])}


def test_a_tensor_has_as_many_columns_as_its_shape(tmp_path: Path) -> None:
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}
    spec = read_spec(write(tmp_path, mlmodel([tensor])))
    assert [found.name for found in spec.columns] == ["feature_0", "feature_1", "feature_2"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (mlmodel([column("binary")]), "column 'x' of its signature has type binary"),
        (mlmodel([]), "its signature has no inputs"),
        (mlmodel([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2, 2]}}]), "shape [-1, 2, 2]"),
        (mlmodel([column("double")], metadata={"task": "clustering"}), "Invalid enum value 'clustering'"),
        (mlmodel([column("double")], metadata={"task": "classification"}), "fewer than two classes"),
        (mlmodel([column("double")], metadata=None), "metadata"),
        (mlmodel([column("double")], signature=None), "signature"),
        (mlmodel([column("double")], signature={"inputs": "{"}), "Expected `array`"),
        (mlmodel([column("double")], flavors={"onnx": {"data": "../../etc/passwd"}}), "outside its folder"),
        (mlmodel([column("double")], flavors={"sklearn": {"pickled_model": "/etc/passwd"}}), "outside its folder"),
        ("just text", "does not follow docs/model-format.md"),
    ],
)
def test_models_that_cannot_be_served_are_refused(tmp_path: Path, document: Any, reason: str) -> None:
    with pytest.raises(ModelUnusableError) as caught:
        read_spec(write(tmp_path, document))
    assert reason in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_broken_or_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match="no MLmodel file"):
        read_spec(tmp_path)
    (tmp_path / "MLmodel").write_text("a: [")
    with pytest.raises(ModelUnusableError, match="does not follow"):
        read_spec(tmp_path)
    (tmp_path / "MLmodel").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelUnusableError, match="does not follow"):
        read_spec(tmp_path)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("!!python/object/apply:os.system ['false']")
    with pytest.raises(ModelUnusableError, match="does not follow"):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    "example",
    [
        {"features": SETOSA},
        {"instances": [SETOSA, SETOSA]},
        {"inputs": [SETOSA]},
        {"columns": list(reversed(COLUMNS)), "data": [list(reversed(SETOSA))]},
        [dict(zip(COLUMNS, SETOSA, strict=True))],
        [SETOSA],
        SETOSA,
    ],
)
def test_examples_in_every_form_of_mlflow(iris: Bundle, tmp_path: Path, example: Any) -> None:
    (tmp_path / "input_example.json").write_text(json.dumps(example))
    assert read_example(tmp_path, read_spec(iris.folder)) == tuple(SETOSA)


def test_a_time_of_an_example_has_its_offset(tmp_path: Path) -> None:
    write_mixed(tmp_path)
    moments = [entry["kind"] == "datetime" for entry in mixed.COLUMNS].index(True)
    names = [entry["name"] for entry in mixed.COLUMNS]
    for given in ("2024-01-31T12:00:00", "2024-01-31T12:00:00+00:00"):
        row = dict.fromkeys(names, None) | {names[moments]: given}
        (tmp_path / "input_example.json").write_text(json.dumps([row]))
        example = read_example(tmp_path, read_spec(tmp_path))
        assert example is not None
        assert example[moments] == "2024-01-31T12:00:00Z"


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", '{"features": [1]}', '["a"]', '{"columns": [], "data": [[1]]}']
)
def test_an_example_that_does_not_fit_is_none(iris: Bundle, tmp_path: Path, content: str) -> None:
    (tmp_path / "input_example.json").write_text(content)
    assert read_example(tmp_path, read_spec(iris.folder)) is None
