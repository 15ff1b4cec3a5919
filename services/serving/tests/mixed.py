"""A small real model of a table with columns of every kind and missing values, as in docs/model-format.md."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import skops.io
import yaml
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelformat.digest import content_digest

COLUMNS: list[dict[str, Any]] = [
    {"name": "island", "kind": "category", "optional": False, "categories": ["Biscoe", "Dream", "Torgersen"]},
    {"name": "bill (mm)", "kind": "number", "optional": True},
    {"name": "sex", "kind": "category", "optional": True, "categories": ["female", "male"]},
    {"name": "eggs", "kind": "integer", "optional": False},
    {"name": "ringed", "kind": "boolean", "optional": True},
    {"name": "seen", "kind": "datetime", "optional": False},
]
NAMES: list[str] = [column["name"] for column in COLUMNS]
TYPES = {"category": "string", "number": "double", "integer": "long", "boolean": "boolean", "datetime": "datetime"}
CLASSES = ["Adelie", "Gentoo"]
DAY = 86_400
SINCE = 1_700_000_000
ROW: dict[str, Any] = {
    "island": "Torgersen",
    "bill (mm)": 39.1,
    "sex": "male",
    "eggs": 2,
    "ringed": True,
    "seen": "2023-11-15T08:30:00Z",
}
SEEN = 1_700_037_000.0
"""The last value of ROW as a model gets it."""

_TEXT, _NUMBERS, _DATES = [0, 2], [1, 3, 4], [5]


def table(rows: int = 240) -> np.ndarray[Any, Any]:
    """Return rows for the pipeline: floats and strings, with NaN and the empty string for missing values."""
    chance = np.random.default_rng(5)
    found = np.empty((rows, len(COLUMNS)), dtype=object)
    found[:, 0] = chance.choice(COLUMNS[0]["categories"], rows)
    found[:, 1] = np.where(chance.random(rows) < 0.1, np.nan, chance.normal(44, 5, rows).round(1))
    found[:, 2] = chance.choice(["female", "male", ""], rows, p=[0.45, 0.45, 0.1])
    found[:, 3] = chance.integers(0, 4, rows).astype(float)
    found[:, 4] = chance.choice([0.0, 1.0, np.nan], rows)
    found[:, 5] = (SINCE + chance.integers(0, 100 * DAY, rows)).astype(float)
    return found


def fitted() -> Any:
    """Return a fitted pipeline that uses every column."""
    rows = table()
    bill = np.nan_to_num(rows[:, 1].astype(float), nan=44.0)
    late = (rows[:, 5].astype(float) - SINCE) / (100 * DAY)
    score = (bill - 44) / 5 + (rows[:, 0] == "Biscoe") * 2 + (rows[:, 2] == "male") + late - 1.5
    steps = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), _TEXT),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), _NUMBERS),
            ("dates", StandardScaler(), _DATES),
        ]
    )
    return make_pipeline(steps, LogisticRegression()).fit(rows, np.where(score > 0, CLASSES[1], CLASSES[0]))


def baseline() -> dict[str, Any]:
    """Return the baseline of the training data, in version 2 of baseline.json."""
    rows = table()
    features = [_feature(column, rows[:, index]) for index, column in enumerate(COLUMNS)]
    answers = fitted().predict(rows)
    shares = [float((answers == label).mean()) for label in CLASSES]
    prediction = {"rows": len(rows), "shares": shares, "classes": CLASSES}
    return {"version": 2, "rows": len(rows), "features": features, "prediction": prediction}


def _feature(column: dict[str, Any], values: Any) -> dict[str, Any]:
    if column["kind"] == "category":
        known = values[values != ""]
        shares = [float((known == category).mean()) for category in column["categories"]]
        found = {"name": column["name"], "categories": column["categories"], "shares": [*shares, 0.0]}
        return found | {"nulls": 1 - len(known) / len(values)}
    numbers = values.astype(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    edges = sorted(set(np.quantile(numbers, [1 / 3, 2 / 3]).astype(np.float32).tolist()))
    counts = np.bincount(np.searchsorted(edges, numbers, side="right"), minlength=len(edges) + 1)
    found = {"name": column["name"], "edges": edges, "shares": (counts / len(numbers)).tolist()}
    return found | {"nulls": 1 - len(numbers) / len(values)} if column["optional"] else found


def requested(row: Any) -> list[Any]:
    """Return a row of the table as a caller writes it."""
    island, bill, sex, eggs, ringed, seen = row
    bill, ringed = (None if np.isnan(value) else value for value in (bill, ringed))
    return [island, bill, sex or None, int(eggs), None if ringed is None else bool(ringed), seen]


def write_mixed(
    folder: Path,
    *,
    onnx_twin: bool = True,
    columns: Any = COLUMNS,
    signed: Any = COLUMNS,
    example: Any = ROW,
    drift: bool = False,
) -> str:
    """Write the model into `folder`, and return its content digest.

    `columns` are its `metadata.columns`, and `signed` those of its signature.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = fitted()
    flavors: dict[str, Any] = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
    skops.io.dump(model, folder / "model.skops")
    if onnx_twin:
        flavors["onnx"] = {"data": "model.onnx"}
        onnx.save(twin(model), folder / "model.onnx")
    inputs = [
        {"name": each["name"], "type": TYPES[str(each["kind"])], "required": not each["optional"]} for each in signed
    ]
    metadata = {"task": "classification", "classes": CLASSES, "target": "species"}
    document = {
        "flavors": flavors,
        "metadata": metadata if columns is None else metadata | {"columns": columns},
        "signature": {"inputs": json.dumps(inputs), "outputs": "[]", "params": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    if example:
        (folder / "input_example.json").write_text(json.dumps([example]))
    if drift:
        (folder / "baseline.json").write_text(json.dumps(baseline()))
    return content_digest(folder)


def twin(model: Any) -> Any:
    """Return the ONNX twin: one input for each column, with the dates centred in double precision."""
    rest = copy.deepcopy(model)
    dates = rest[0].named_transformers_["dates"]
    mean, scale = float(dates.mean_[0]), float(dates.scale_[0])
    dates.mean_, dates.scale_ = np.zeros(1), np.ones(1)
    types = [
        (f"column_{index}", StringTensorType([None, 1]) if index in _TEXT else FloatTensorType([None, 1]))
        for index in range(len(COLUMNS))
    ]
    made = to_onnx(rest, initial_types=types, options={"zipmap": False})
    [date] = _DATES
    for node in made.graph.node:
        node.input[:] = ["centred" if name == f"column_{date}" else name for name in node.input]
    made.graph.input[date].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for name, value in (("date_mean", mean), ("date_scale", scale)):
        made.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.DOUBLE, [1], [value]))
    first = [
        onnx.helper.make_node("Sub", [f"column_{date}", "date_mean"], ["moved"]),
        onnx.helper.make_node("Div", ["moved", "date_scale"], ["scaled"]),
        onnx.helper.make_node("Cast", ["scaled"], ["centred"], to=onnx.TensorProto.FLOAT),
    ]
    rest_of_it = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*first, *rest_of_it])
    return made
