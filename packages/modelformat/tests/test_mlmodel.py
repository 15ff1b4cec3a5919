"""What an MLmodel file may contain, and that anything else is refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelformat.mlmodel import FormatError, Input, OnnxFlavor, parse_mlmodel, read_mlmodel

INPUTS = [{"name": "a", "type": "double"}, {"name": "b", "type": "string", "required": False}]


def document(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"task": "classification", "classes": ["no", "yes"], "target": "y"},
        "signature": {"inputs": json.dumps(INPUTS)},
        "flavors": {"onnx": {"data": "model.onnx"}},
    } | changes


def test_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(document()))
    found = read_mlmodel(tmp_path)
    assert found.metadata.classes == ("no", "yes")
    assert found.metadata.labels == "largest"
    assert found.inputs == (Input("double", "a"), Input("string", "b", required=False))
    assert found.flavors.onnx == OnnxFlavor("model.onnx")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metadata": {"task": "clustering"}}, "does not follow docs/model-format.md"),
        ({"signature": {"inputs": "{"}}, "does not follow docs/model-format.md"),
        ({"flavors": {"onnx": {"data": "../model.onnx"}}}, "outside its folder"),
        ({"flavors": {"sklearn": {"pickled_model": "/etc/passwd"}}}, "outside its folder"),
        ({"flavors": {"onnx": {"data": "registered_model_meta"}}}, "MLflow overwrites"),
        ({"flavors": {"onnx": {"data": "./registered_model_meta"}}}, "MLflow overwrites"),
    ],
)
def test_other_formats_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        parse_mlmodel(document(**changes))


def test_a_folder_without_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no MLmodel file"):
        read_mlmodel(tmp_path)
