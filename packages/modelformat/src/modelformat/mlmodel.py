"""The file `MLmodel`: those parts of it that the contract uses (docs/model-format.md)."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from modelformat.columns import ColumnMetadata
from modelformat.digest import ADDED_BY_DOWNLOAD

FILE = "MLmodel"
ONNX_FILE = "model.onnx"
SKOPS_FILE = "model.skops"
EXAMPLE_FILE = "input_example.json"

Task = Literal["classification", "regression"]
Label = str | bool | int
# How a classifier decides its label: by the largest probability; by the graph's output `label` or the pipeline's
# `predict`, in addition to probabilities; or by that alone, for a model without probabilities.
Labels = Literal["largest", "predicted", "only"]


class FormatError(ValueError):
    """A folder is not a model in the documented format; the message says why."""


class Metadata(Struct, frozen=True):
    """The fields that this project adds to MLflow's own; `classes` are in the order of the probability columns."""

    task: Task
    classes: tuple[Label, ...] = ()
    target: str = ""
    columns: tuple[ColumnMetadata, ...] | None = None
    labels: Labels = "largest"


class TensorSpec(Struct, frozen=True):
    """An input of a signature that takes all columns as one array."""

    dtype: str
    shape: tuple[int, ...]


class Input(Struct, frozen=True):
    """An input of the signature: one column, or all columns."""

    type: str
    name: str = ""
    required: bool = True
    tensor_spec: TensorSpec | None = msgspec.field(default=None, name="tensor-spec")


class OnnxFlavor(Struct, frozen=True):
    """The ONNX form; `data` is its file."""

    data: str


class SklearnFlavor(Struct, frozen=True):
    """The scikit-learn form; `pickled_model` is its file, whatever the format."""

    pickled_model: str
    serialization_format: str = "pickle"


class Flavors(Struct, frozen=True):
    """The forms that can be served."""

    onnx: OnnxFlavor | None = None
    sklearn: SklearnFlavor | None = None


class _Signature(Struct, frozen=True):
    inputs: str


class _Document(Struct, frozen=True):
    metadata: Metadata
    signature: _Signature
    flavors: Flavors = Flavors()


class MLmodel(Struct, frozen=True):
    """A model's description: `inputs` are the columns in the order of a row."""

    metadata: Metadata
    inputs: tuple[Input, ...]
    flavors: Flavors


def read_mlmodel(folder: Path) -> MLmodel:
    """Read the description of a model's folder.

    Raises:
        FormatError: It is missing, broken, or not as documented.
    """
    try:
        document = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError("the version has no MLmodel file, so it is not an MLflow model") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _not_documented(error) from None
    return parse_mlmodel(document)


def parse_mlmodel(document: Any) -> MLmodel:
    """Read a description that was loaded from YAML.

    Raises:
        FormatError: It is not as documented.
    """
    try:
        found = msgspec.convert(document, _Document)
        inputs = msgspec.json.decode(found.signature.inputs, type=tuple[Input, ...])
    except msgspec.MsgspecError as error:
        raise _not_documented(error) from None
    if found.flavors.onnx:
        _refuse_outside(found.flavors.onnx.data)
    if found.flavors.sklearn:
        _refuse_outside(found.flavors.sklearn.pickled_model)
    return MLmodel(found.metadata, inputs, found.flavors)


def _not_documented(error: Exception) -> FormatError:
    return FormatError(f"its MLmodel file does not follow docs/model-format.md: {' '.join(str(error).split())}")


def _refuse_outside(path: str) -> None:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts:
        raise FormatError(f"its MLmodel file names a file outside its folder: {path!r}")
    if parts.parts == (ADDED_BY_DOWNLOAD,):
        raise FormatError(f"its MLmodel file names {path!r}, which MLflow overwrites when it downloads a version")
