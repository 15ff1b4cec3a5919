"""Proves that columns of every kind are read and learned, and that pipeline and twin give the same answers."""

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
import yaml

from modelformat.columns import ColumnMetadata
from training import models
from training.bundle import metadata_of
from training.data import Dataset, load_dataset
from training.errors import BadInputError
from training.hard_rows import hard_rows
from training.kinds import Column
from training.onnx_twin import Twin, to_onnx
from training.settings import ColumnSettings, CsvSettings

Training = Callable[..., Any]
ROWS = 80
RANDOM = np.random.default_rng(11)
LABELS = np.repeat(["left", "right"], ROWS // 2)
A = (RANDOM.normal(size=ROWS) + np.repeat([0, 3], ROWS // 2)).round(2)
WORDS = np.resize(["Bonn", "K\u00f6ln", "Trier", "\u5317\u4eac"], ROWS)
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=int(day)) for day in RANDOM.integers(0, 900, ROWS)]


def gaps(values: Any, *rows: int) -> list[Any]:
    """Return values of which the first and those of some more rows are missing."""
    return [None if row in (0, *rows) else value for row, value in enumerate(values)]


def parquet(folder: Path, **columns: Any) -> str:
    path = folder / "data.parquet"
    pq.write_table(pa.table({"a": A, **columns, "y": LABELS}), path)
    return str(path)


def csv(folder: Path, **columns: Any) -> str:
    path = folder / "data.csv"
    pd.DataFrame({"a": A, **columns, "y": LABELS}).to_csv(path, index=False)
    return str(path)


def fitted(dataset: Dataset, model: str) -> tuple[Any, bytes]:
    params = {"n_estimators": 5} if model == "random-forest" else {}
    pipeline = models.build(model, dataset.task, params, 1, dataset.columns, centre=bool(dataset.centred))
    models.fit(pipeline, dataset.rows, dataset.truth)
    return pipeline, to_onnx(pipeline, dataset.columns, classifier=bool(dataset.classes))


def distance(dataset: Dataset, pipeline: Any, twin: Twin) -> float:
    """Return the largest difference between pipeline and twin, on all rows and on difficult rows."""
    kinds = [(column.kind, column.optional) for column in dataset.columns]
    rows = np.concatenate([dataset.rows, hard_rows(kinds, dataset.rows, pipeline)])
    own = pipeline.predict_proba(rows) if dataset.classes else pipeline.predict(rows).reshape(-1, 1)
    return float(np.abs(own - twin.scores(rows)).max())


UTC = pa.timestamp("ns", "Europe/Berlin")
MOMENTS = [dt.datetime(2024, 3, 31, 3, tzinfo=dt.UTC) + dt.timedelta(hours=row) for row in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (pa.array(WORDS), Column("b", "category", categories=("Bonn", "K\u00f6ln", "Trier", "\u5317\u4eac"))),
        (pa.array(gaps(WORDS)).dictionary_encode(), Column("b", "category", True, tuple(sorted(set(WORDS))))),
        (pa.array([row % 3 for row in range(ROWS)]).dictionary_encode(), Column("b", "integer")),
        (pa.array(gaps(range(ROWS), 5), pa.int64()), Column("b", "integer", optional=True)),
        (pa.array(gaps([row % 3 > 0 for row in range(ROWS)])), Column("b", "boolean", optional=True)),
        (pa.array([Decimal(row) / 8 for row in range(ROWS)], pa.decimal128(10, 3)), Column("b", "number")),
        (pa.array(gaps(A), pa.float32()), Column("b", "number", optional=True)),
        (pa.array(DAYS), Column("b", "datetime")),
        (pa.array(gaps(MOMENTS), UTC), Column("b", "datetime", optional=True)),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
@pytest.mark.parametrize("model", ["logistic-regression", "random-forest", "hist-gradient-boosting"])
def test_parquet_types_are_columns_of_kinds(tmp_path: Path, values: pa.Array, column: Column, model: str) -> None:
    dataset = load_dataset(parquet(tmp_path, b=values), "y")
    assert dataset.columns == (Column("a"), column)
    pipeline, content = fitted(dataset, model)
    assert distance(dataset, pipeline, Twin(content)) < 1e-5
    assert set(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))) <= set(models.TRUSTED_TYPES)


def test_times_are_seconds_of_utc(tmp_path: Path) -> None:
    dataset = load_dataset(parquet(tmp_path, b=pa.array(MOMENTS, UTC)), "y")
    assert dataset.rows[:, 1].tolist() == [moment.timestamp() for moment in MOMENTS]
    texts = [moment.isoformat() for moment in MOMENTS]
    assert load_dataset(csv(tmp_path, b=texts), "y").rows[:, 1].tolist() == dataset.rows[:, 1].tolist()
    assert load_dataset(csv(tmp_path, b=[text[:10] for text in texts]), "y").columns[1].kind == "datetime"


def test_csv_texts_are_categories_and_gaps_are_optional(tmp_path: Path) -> None:
    dataset = load_dataset(csv(tmp_path, age=gaps(range(ROWS), 7), city=gaps(WORDS), ok=gaps(A > 1, 3)), "y")
    assert [(column.name, column.kind, column.optional) for column in dataset.columns] == [
        ("a", "number", False),
        ("age", "number", True),
        ("city", "category", True),
        ("ok", "boolean", True),
    ]
    assert dataset.rows[0, 2] == ""
    assert dataset.rows[1].tolist() == [np.float32(A[1]), 1.0, "K\u00f6ln", float(A[1] > 1)]


def test_a_table_of_numbers_without_gaps_needs_no_preparation(tmp_path: Path) -> None:
    dataset = load_dataset(csv(tmp_path, n=RANDOM.integers(0, 9, ROWS)), "y")
    pipeline, content = fitted(dataset, "logistic-regression")
    assert list(pipeline.named_steps) == ["scale", "model"]
    (given,) = onnx.load_from_string(content).graph.input
    assert given.name == "features"


def test_a_twin_of_texts_has_one_input_a_column(tmp_path: Path) -> None:
    dataset = load_dataset(csv(tmp_path, city=WORDS, when=DAYS, n=gaps(A)), "y")
    _, content = fitted(dataset, "hist-gradient-boosting")
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in model.graph.input}
    double, text = onnx.TensorProto.DOUBLE, onnx.TensorProto.STRING
    assert types == {"column_0": double, "column_1": text, "column_2": double, "column_3": double}
    assert list(types) == sorted(types)
    plain = load_dataset(csv(tmp_path, n=gaps(A)), "y")
    assert [entry.name for entry in onnx.load_from_string(fitted(plain, "random-forest")[1]).graph.input] == [
        "features"
    ]


def test_rare_and_unknown_texts_share_one_place(tmp_path: Path) -> None:
    words = WORDS.astype(object)
    words[[4, 44]] = ["Ulm", "Celle"]
    dataset = load_dataset(csv(tmp_path, city=words), "y")
    pipeline, content = fitted(dataset, "logistic-regression")
    rows = dataset.rows[[4, 44, 4, 4]].copy()
    rows[:, 0] = 1.0
    rows[2:, 1] = ["never seen", ""]
    assert len(np.unique(Twin(content).scores(rows), axis=0)) == 1
    assert distance(dataset, pipeline, Twin(content)) < 1e-5


def test_settings_of_columns_override_the_table(tmp_path: Path) -> None:
    said = {
        "code": ColumnSettings(kind="category", unknown="refuse"),
        "n": ColumnSettings(kind="number", optional=True),
        "flag": ColumnSettings(kind="boolean", sensitive=True),
        "at": ColumnSettings(kind="datetime"),
        "id": ColumnSettings(drop=True),
    }
    codes = np.resize(["007", "042"], ROWS)
    path = csv(tmp_path, code=codes, n=range(ROWS), flag=np.resize([0, 1], ROWS), at=range(ROWS), id=WORDS)
    dataset = load_dataset(path, "y", said=said)
    assert dataset.columns[1:] == (
        Column("code", "category", False, ("007", "042"), "refuse"),
        Column("n", "number", optional=True),
        Column("flag", "boolean", sensitive=True),
        Column("at", "datetime"),
    )


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"b": ColumnSettings(kind="number")}, "column 'b' holds 'Bonn' in row 2, which is not a number"),
        ({"b": ColumnSettings(kind="datetime")}, "column 'b' holds 'Bonn' in row 2, which is not a date or time"),
        ({"b": ColumnSettings(kind="boolean")}, "column 'b' holds 'Bonn' in row 2, which is neither true nor false"),
        ({"a": ColumnSettings(kind="integer")}, "which is not a whole number"),
        ({"b": ColumnSettings(optional=False)}, "column 'b' has 1 empty or NaN cell (first in row 1)"),
        ({"a": ColumnSettings(unknown="refuse")}, "column 'a' is of kind number; `unknown` is for categories only"),
        ({"c": ColumnSettings()}, "no column 'c'"),
        ({"y": ColumnSettings(drop=True)}, "'y' is the target"),
    ],
)
def test_settings_that_do_not_fit_the_table_are_refused(
    tmp_path: Path, said: dict[str, ColumnSettings], says: str
) -> None:
    words = ["", *["Bonn"] * 40, *["Ulm"] * (ROWS - 41)]
    with pytest.raises(BadInputError) as caught:
        load_dataset(csv(tmp_path, b=words), "y", said=said)
    assert says in str(caught.value)


def test_a_mark_among_numbers_is_one_among_words_too(tmp_path: Path) -> None:
    """R writes tables like this, with NA in every column."""
    words, numbers = WORDS.astype(object), A.astype(object)
    words[3] = numbers[5] = "NA"
    dataset = load_dataset(csv(tmp_path, city=words, n=numbers), "y")
    assert [column.optional for column in dataset.columns] == [False, True, True]
    assert "column 'city' holds 'NA' in 1 row, read as a missing value" in dataset.notes[0]
    alone = load_dataset(csv(tmp_path, city=words), "y")
    assert "NA" in alone.columns[1].categories
    assert 'read as a category; csv.missing: ["NA"]' in alone.notes[0]


def test_cp1252_and_utf16_are_read_and_reported(tmp_path: Path) -> None:
    path = Path(csv(tmp_path, city=np.resize(["K\u00f6ln", "Bonn"], ROWS)))
    expected = load_dataset(str(path), "y")
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode("cp1252"))
    windows = load_dataset(str(path), "y")
    assert windows.sha256 == expected.sha256
    assert "the letters of cp1252" in windows.notes[0]
    path.write_bytes(text.encode("utf-16"))
    assert load_dataset(str(path), "y").sha256 == expected.sha256
    path.write_bytes(text.encode("cp850"))
    assert load_dataset(str(path), "y", csv=CsvSettings(encoding="cp850")).sha256 == expected.sha256
    with pytest.raises(BadInputError, match="'cp9' is not an encoding"):
        load_dataset(str(path), "y", csv=CsvSettings(encoding="cp9"))
    with pytest.raises(BadInputError, match="not UTF-8 text"):
        load_dataset(str(path), "y", csv=CsvSettings(encoding="utf8"))


def test_an_index_saved_with_a_csv_file_is_left_out_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    pd.DataFrame({"a": A, "y": LABELS}).to_csv(path)
    dataset = load_dataset(str(path), "y")
    assert dataset.features == ("a",)
    assert "column 1 has no name and is left out" in dataset.notes[0]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([f"id-{row}" for row in range(ROWS)], "has a different text in nearly every row"),
        (["same"] * ROWS, "has the same value in every row"),
        (np.where(LABELS == "left", "L", "R"), "repeats the target"),
    ],
)
def test_columns_of_identifiers_are_named(tmp_path: Path, values: Any, says: str) -> None:
    (sentence,) = load_dataset(csv(tmp_path, b=values), "y").warnings
    assert f"column 'b' {says}" in sentence


def test_too_many_different_texts_are_refused(tmp_path: Path) -> None:
    rows = 6000
    frame = pd.DataFrame({"b": [f"t{row}" for row in range(rows)], "y": np.resize(["l", "r"], rows)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(BadInputError, match="column 'b' holds 6000 different texts, more than the 5000"):
        load_dataset(str(tmp_path / "data.csv"), "y")


def test_a_model_of_texts_gaps_and_dates_is_registered(training: Training, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "cities"
    folder.mkdir(parents=True)
    csv(folder, city=gaps(WORDS, 9), age=gaps(A * 10, 5), when=DAYS, n=range(ROWS))
    (folder / "training.yaml").write_text(
        yaml.safe_dump(
            {
                "data": "data.csv", "target": "y", "name": "cities", "cv": 2,
                "columns": {"n": {"drop": True}, "city": {"unknown": "refuse"}, "age": {"sensitive": True}},
                "gate": {"invariance": [{"feature": "age", "step": 0.1, "tolerance": 0.9}]},
            }
        )
    )  # fmt: skip
    outcome = training("run", "--model-dir", str(folder), "--json")
    assert outcome.code == 0, outcome.err
    assert {"parity on hard rows", "noise"} <= {check["name"] for check in outcome.json["gate"]["checks"]}
    (artifacts,) = tmp_path.glob("mlruns/*/models/*/artifacts")
    description = yaml.safe_load((artifacts / "MLmodel").read_text())
    known = sorted(set(WORDS))
    assert description["metadata"]["columns"] == [
        {"name": "a", "kind": "number", "optional": False},
        {"name": "city", "kind": "category", "optional": True, "categories": known, "unknown": "refuse"},
        {"name": "age", "kind": "number", "optional": True, "sensitive": True},
        {"name": "when", "kind": "datetime", "optional": False},
    ]
    signature = json.loads(description["signature"]["inputs"])
    assert [(column["type"], column["required"]) for column in signature] == [
        ("double", True), ("string", False), ("double", False), ("datetime", True),
    ]  # fmt: skip
    baseline = json.loads((artifacts / "baseline.json").read_text())
    assert baseline["version"] == 2
    city = baseline["features"][1]
    assert city["categories"] == known
    assert sum(city["shares"]) == pytest.approx(1)
    assert len(city["shares"]) == len(known) + 1
    assert 0 <= city["nulls"] < 0.1
    example = json.loads((artifacts / "input_example.json").read_text(), parse_constant=pytest.fail)
    assert example["columns"] == ["a", "city", "age", "when"]
    assert None in example["data"][1]
    again = training("evaluate", "cities@candidate", "--json")
    assert again.code == 0, again.err
    assert again.json["same_data"]


def test_expectations_for_categories_and_booleans_are_refused(training: Training) -> None:
    csv(Path(), city=WORDS)
    Path("training.yaml").write_text(
        "{data: data.csv, target: y, name: m, gate: {invariance: [{feature: city, step: 1, tolerance: 1}]}}"
    )
    outcome = training("run", "--model-dir", ".")
    assert outcome.code == 2
    assert (
        "gate.invariance: feature 'city' of data.csv is of kind category, so `step` cannot be added to it"
        in outcome.err
    )


def test_the_mark_of_a_sensitive_column_reaches_serving(tmp_path: Path) -> None:
    dataset = load_dataset(csv(tmp_path, n=range(ROWS)), "y", said={"a": ColumnSettings(sensitive=True)})
    (told,) = [entry for entry in metadata_of(dataset)["columns"] if entry["name"] == "a"]
    assert msgspec.convert(told, ColumnMetadata).sensitive
    plain = load_dataset(csv(tmp_path, n=np.arange(ROWS) + 0.5), "y")
    assert "sensitive" not in str(metadata_of(plain))
