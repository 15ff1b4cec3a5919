"""Find a model in MLflow or as a file, how it is stored, and what was recorded about it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from modelformat.mlmodel import FILE as MLMODEL
from training.errors import BadInputError
from training.registering.messages import Form
from training.tracking import Tracking

_SUFFIXES: dict[str, Form] = {
    ".skops": "skops", ".onnx": "onnx", ".joblib": "pickle", ".pkl": "pickle", ".pickle": "pickle",
}  # fmt: skip
_URI = re.compile(r"(models|runs):/.+")
# In the order of preference: the model itself is opened rather than its ONNX form.
_FLAVORS = ("sklearn", "xgboost", "lightgbm", "catboost", "onnx")


class Source(Struct, frozen=True):
    """A model's file, and what MLflow recorded about it.

    Attributes:
        title: The address or path that was given.
        path: The model's file.
        form: How it is stored.
        model_class: The class of a native file.
        beside: The folder of the file, if everything in it belongs to the model.
        code: The folder of Python code that was logged with it; empty if there is none.
        inputs: The column names of its signature, if it has one.
        classes: `metadata.classes`, if it was given.
    """

    title: str
    path: Path
    form: Form
    model_class: str = ""
    beside: str = ""
    code: str = ""
    inputs: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()


@contextlib.contextmanager
def found_source(model: str, tracking: Tracking) -> Iterator[Source]:
    """Yield the model at an address or path; a download is deleted after the block.

    Raises:
        BadInputError: There is none, or it is stored in a form that is not supported.
        OutageError: MLflow does not answer.
    """
    if not _URI.fullmatch(model):
        yield _of_path(model)
        return
    uri = model
    run = re.fullmatch(r"runs:/([^/]+)/?", model)
    if run:
        uri = f"models:/{tracking.model_of_run(run[1])}"
    try:
        context = tracking.downloaded(uri)
        folder = context.__enter__()
    except BadInputError as error:
        raise BadInputError(f"{model}: {error}") from error
    try:
        yield _of_folder(folder, model)
    finally:
        context.__exit__(None, None, None)


def _of_path(model: str) -> Source:
    path = Path(model)
    if path.is_dir() and (path / MLMODEL).is_file():
        return _of_folder(path, model)
    if not path.is_file():
        raise BadInputError(
            f"{model!r} is neither models:/NAME/VERSION, models:/NAME@ALIAS, runs:/RUN_ID/NAME nor a file."
        )
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise BadInputError(f"{model}: the name of a model's file must end with {', '.join(_SUFFIXES)}.")
    # A graph may have its weights in files next to it. No other form has, and the folder may hold anything else.
    beside = str(path.resolve().parent) if form == "onnx" else ""
    return Source(model, path.resolve(), form, beside=beside)


def _of_folder(folder: Path, title: str) -> Source:
    try:
        document = yaml.safe_load((folder / MLMODEL).read_bytes())
        flavors = document["flavors"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInputError(f"{title}: it has no MLmodel file that can be read ({type(error).__name__}).") from error
    name = next((flavor for flavor in _FLAVORS if flavor in flavors), None)
    if name is None:
        others = ", ".join(flavor for flavor in flavors if flavor != "python_function") or "python_function"
        raise BadInputError(
            f"{title}: it was logged as {others}, which cannot be served; supported are {', '.join(_FLAVORS)}. A "
            "Python function (pyfunc) cannot run without its code: log the estimator inside it."
        )
    flavor = flavors[name]
    file = str(flavor.get("pickled_model") or flavor.get("data") or "")
    parts = PurePosixPath(file)
    if not file or parts.is_absolute() or ".." in parts.parts or not (folder / file).is_file():
        raise BadInputError(f"{title}: its MLmodel file names {file!r} as the model, which is not in its folder.")
    code = str(flavor.get("code") or "")
    if code and not (folder / code).resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"{title}: its MLmodel file names {code!r} as its code, which is not in its folder.")
    metadata = document.get("metadata") or {}
    return Source(
        title,
        (folder / file).resolve(),
        _form(name, flavor, file, title),
        str(flavor.get("model_class") or flavor.get("model_type") or ""),
        str(folder.resolve()),
        str((folder / code).resolve()) if code else "",
        _inputs(document),
        tuple(metadata.get("classes") or ()),
    )


def _form(name: str, flavor: dict[str, Any], file: str, title: str) -> Form:
    if name == "sklearn":
        return "skops" if flavor.get("serialization_format") == "skops" else "pickle"
    if name == "lightgbm":
        form = _SUFFIXES.get(Path(file).suffix)
        if form is None:
            raise BadInputError(
                f"{title}: it is a Booster of LightGBM, which does not say its classes or its task; log the "
                "LGBMClassifier or LGBMRegressor."
            )
        return form
    forms: dict[str, Form] = {"xgboost": "xgboost", "catboost": "catboost", "onnx": "onnx"}
    return forms[name]


def _inputs(document: dict[str, Any]) -> tuple[str, ...]:
    try:
        inputs = msgspec.json.decode(document["signature"]["inputs"])
        return tuple(str(column["name"]) for column in inputs if "name" in column and "tensor-spec" not in column)
    except (KeyError, TypeError, msgspec.DecodeError):
        return ()
