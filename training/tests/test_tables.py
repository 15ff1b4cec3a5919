"""Proves that real-world tables are read correctly, and that errors name the column."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data import Dataset, load_dataset
from training.errors import BadInputError
from training.kinds import Column
from training.settings import ColumnSettings, CsvSettings

Training = Callable[..., Any]
ROWS = 60


def table(**columns: Any) -> pd.DataFrame:
    """Return a table of two classes that `a` separates, with further columns."""
    a = np.random.default_rng(3).normal(size=ROWS) + np.repeat([0, 5], ROWS // 2)
    return pd.DataFrame({"a": a.round(3), **columns, "kind": np.repeat(["left", "right"], ROWS // 2)})


def loaded(tmp_path: Path, frame: pd.DataFrame, csv: CsvSettings | None = None, **how: Any) -> Dataset:
    frame.to_csv(tmp_path / "data.csv", index=False, **how)
    return load_dataset(str(tmp_path / "data.csv"), "kind", csv=csv)


def refusal(tmp_path: Path, content: str, csv: CsvSettings | None = None) -> list[str]:
    (tmp_path / "data.csv").write_text(content)
    with pytest.raises(BadInputError) as caught:
        load_dataset(str(tmp_path / "data.csv"), "y", csv=csv)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("separator", "said"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar")])
def test_other_separators_are_detected_and_reported(tmp_path: Path, separator: str, said: str) -> None:
    expected = loaded(tmp_path, table())
    assert expected.notes == ()
    found = loaded(tmp_path, table(), sep=separator)
    assert found.sha256 == expected.sha256
    assert len(found.notes) == 1
    assert f"read with {said} between fields" in found.notes[0]


def test_decimal_commas_are_detected_and_reported(tmp_path: Path) -> None:
    expected = loaded(tmp_path, table(n=range(ROWS)))
    found = loaded(tmp_path, table(n=range(ROWS)), sep=";", decimal=",")
    assert found.sha256 == expected.sha256
    assert "a semicolon between fields and a comma as decimal separator (csv.separator, csv.decimal" in found.notes[0]


def test_decimal_commas_next_to_decimal_points_are_refused(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "a;b;y\n1,5;1.5;x\n2,5;2.5;z\n")
    assert "column 'a' holds text such as '1,5', '2,5' (first in row 1): are these numbers with a decimal" in line


def test_settings_override_detection(tmp_path: Path) -> None:
    found = loaded(tmp_path, table(), CsvSettings(separator=";", decimal=","), sep=";", decimal=",")
    assert found.notes == ()
    quoted = loaded(tmp_path, table(), CsvSettings(decimal=","), decimal=",")
    assert quoted.sha256 == found.sha256
    assert any("no column 'y'" in line for line in refusal(tmp_path, "a;y\n1;x\n2;z\n", CsvSettings(separator=",")))


def test_a_comma_inside_text_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('a;y\n1;"x, y"\n2;"z, y"\n3;"x, y"\n')
    assert load_dataset(str(tmp_path / "data.csv"), "y").classes == ("x, y", "z, y")


@pytest.mark.parametrize("word", ["None", "NA", "nan", "null", "N/A"])
def test_words_that_mean_a_gap_elsewhere_can_be_classes(tmp_path: Path, word: str) -> None:
    frame = table()
    frame["kind"] = frame["kind"].replace("left", word)
    assert loaded(tmp_path, frame).classes == tuple(sorted([word, "right"]))


def test_usual_markers_among_numbers_are_gaps(tmp_path: Path) -> None:
    frame = table(b=range(ROWS)).astype({"b": object})
    frame.loc[[1, 7], "b"] = ["NA", "null"]
    found = loaded(tmp_path, frame)
    assert found.columns[1] == Column("b", "number", optional=True)
    assert np.flatnonzero(np.isnan(found.rows[:, 1])).tolist() == [1, 7]


def test_an_empty_class_is_a_gap(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "a,y\n1,None\n2,\n3,x\n")
    assert "column 'y' has 1 empty or NaN cell (first in row 2); it is the target" in line


def test_an_odd_value_is_named_with_its_row_and_can_be_declared_missing(tmp_path: Path) -> None:
    content = "a,y\n1,x\n2,z\n?,x\n4,z\n?,x\n6,z\n"
    (line,) = refusal(tmp_path, content)
    assert "column 'a' holds '?' in row 3 among numbers (2 of 6 values are not numbers)" in line
    assert 'csv.missing: ["?"]' in line
    (tmp_path / "data.csv").write_text(content)
    found = load_dataset(str(tmp_path / "data.csv"), "y", csv=CsvSettings(missing=["?"]))
    assert found.columns == (Column("a", "number", optional=True),)
    assert np.isnan(found.rows[:, 0]).tolist() == [False, False, True, False, True, False]


def test_declared_markers_replace_the_usual_ones(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, "a,y\n1,x\nNA,z\n3,x\n4,z\n", CsvSettings(missing=["?"]))
    assert "column 'a' holds 'NA' in row 2 among numbers" in line


def test_all_errors_of_a_table_are_reported_at_once(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "a,b,c,d,y\n,red,1,inf,x\n,blue,?,1,\n,red,3,2,z\n,red,4,3,x\n")
    assert [line.partition(" column ")[2].split()[0] for line in lines] == ["'a'", "'c'", "'d'", "'y'"]
    assert "'a' has no value in any row; leave it out" in lines[0]
    assert "holds inf in row 1" in lines[2]
    assert "columns: {NAME: {drop: true}} in training.yaml" in lines[-1]


def test_many_mistakes_are_counted_and_not_listed(tmp_path: Path) -> None:
    header = ",".join(f"c{index}" for index in range(30))
    lines = refusal(tmp_path, f"{header},y\n" + f"{',' * 29},x\n" * 2)
    assert len(lines) == 21
    assert "10 more columns" in lines[-1]


def test_all_wrong_names_are_reported(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "a,,a,,y\n1,2,3,4,x\n")
    assert [line.partition(": ")[2] for line in lines] == [
        "column 2 has no name in the header.",
        "column 4 has no name in the header.",
        "column 'a' occurs more than once.",
    ]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.timestamp("us"), pa.null()])
def test_a_column_that_was_never_filled_is_named_whatever_its_type(tmp_path: Path, kind: pa.DataType) -> None:
    whole = pa.Table.from_pandas(table(), preserve_index=False)
    pq.write_table(whole.append_column("empty", pa.nulls(ROWS, kind)), tmp_path / "data.parquet")
    with pytest.raises(BadInputError, match=r"data.parquet: column 'empty' has no value in any row; leave it out"):
        load_dataset(str(tmp_path / "data.parquet"), "kind")


def test_a_duplicate_name_in_a_parquet_file_is_reported(tmp_path: Path) -> None:
    whole = pa.Table.from_pandas(table(), preserve_index=False)
    pq.write_table(whole.append_column("a", whole["a"]), tmp_path / "data.parquet")
    with pytest.raises(BadInputError, match=r"data.parquet: column 'a' occurs more than once"):
        load_dataset(str(tmp_path / "data.parquet"), "kind")


def test_a_stored_index_is_left_out_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table(customer=np.random.default_rng(2).permutation(ROWS)).set_index("customer").to_parquet(path)
    found = load_dataset(str(path), "kind")
    assert found.features == ("a",)
    assert "column 'customer' is left out, because it is the index that pandas stored" in found.notes[0]
    table().set_index("kind").to_parquet(path)
    assert load_dataset(str(path), "kind").target == "kind"


def test_a_named_index_that_only_counts_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table().rename_axis("customer").to_parquet(path)
    found = load_dataset(str(path), "kind")
    assert found.features == ("a",)
    assert "index 'customer' is left out, because it only counts the rows" in found.notes[0]


def test_whole_numbers_cause_no_warning(training: Training, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    table(eggs=np.arange(ROWS) % 3).to_csv(tmp_path / "data.csv", index=False)
    assert training("run", "--data", str(tmp_path / "data.csv"), "--target", "kind").code == 0
    assert [each.message for each in recwarn if "integer column" in str(each.message)] == []


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"Unnamed: 0": range(ROWS)}, "column 'Unnamed: 0' counts the rows"),
        ({"n": range(100, 100 + ROWS)}, "column 'n' counts the rows"),
        ({"code": np.repeat([4, 9], ROWS // 2)}, "column 'code' repeats the target"),
        ({"same": 7.5}, "column 'same' has the same value in every row"),
        ({"id": np.random.default_rng(1).permutation(ROWS) * 17}, "column 'id' has a different whole number"),
        ({"big": np.resize([1, 10**9 + 1, 10**12 + 3], ROWS)}, "numbers that float32 cannot tell apart"),
    ],
)
def test_columns_not_to_learn_from_are_named(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    found = loaded(tmp_path, table(**columns))
    assert [concern.column for concern in found.concerns] == list(columns)
    assert says in found.warnings[0]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["12%", "7 %", "100%"], "numbers in a form that is read as text, such as '100%', '12%'"),
        (["$1.50", "-$2", "$1,200.00"], "numbers in a form"),
        (["1.000,50", "20,00", "3"], "numbers in a form"),
        (["1 000", "2 500", "12"], "numbers in a form"),
        (["12.50 \u20ac", "9 EUR", "1.200 EUR"], "numbers in a form"),
        (["31.01.2024", "1.2.2024", "15.03.24"], "dates or times in a form that is read as text, such as '1.2.2024'"),
        (["01/31/2024", "02/01/2024 13:05", "02/02/2024 1:05 PM"], "dates or times in a form"),
        (["08:15", "23:59:59", "9:00"], "dates or times in a form"),
        (["yes", "yes ", "no"], "texts with spaces around them, such as 'yes '"),
        ([" Bonn", " Kiel", " Ulm"], "texts with spaces around them, such as ' Bonn'"),
    ],
)
def test_texts_that_are_something_else_are_named(tmp_path: Path, values: list[str], says: str) -> None:
    frame = table(b=np.resize(values, ROWS))
    for write, name in ((frame.to_csv, "data.csv"), (frame.to_parquet, "data.parquet")):
        write(tmp_path / name, index=False)
        found = load_dataset(str(tmp_path / name), "kind")
        assert [concern.column for concern in found.concerns] == ["b"]
        assert says in found.warnings[0]


@pytest.mark.parametrize(
    "values",
    [
        ["a%", "b%", "c%"],
        ["v1.2.3", "1.2.3", "10.0.1"],
        ["12 ABC", "13 ABC", "9 XYZ"],
        ["2024-01", "2024-02", "2023-12"],
        ["1-2", "3-4", "5+"],
        ["18-25", "26-35", "36-50"],
        ["0049-30-123", "0049-89-4", "1"],
    ],
)
def test_other_texts_raise_no_concern(tmp_path: Path, values: list[str]) -> None:
    assert loaded(tmp_path, table(b=np.resize(values, ROWS))).warnings == ()


def test_a_column_that_is_declared_as_text_raises_no_concern(tmp_path: Path) -> None:
    table(b=np.resize(["12%", "7%", "31%"], ROWS), c=np.resize(["01067", "01069", "04103"], ROWS)).to_csv(
        tmp_path / "data.csv", index=False
    )
    said = {"b": ColumnSettings(kind="category"), "c": ColumnSettings(kind="category")}
    assert load_dataset(str(tmp_path / "data.csv"), "kind", said=said).warnings == ()


def test_labels_that_differ_only_in_spaces_are_named(tmp_path: Path) -> None:
    frame = table()
    frame.loc[::5, "kind"] += " "
    found = loaded(tmp_path, frame)
    assert [concern.column for concern in found.concerns] == ["kind"]
    assert "column 'kind' (the target) holds texts with spaces around them, such as 'left '" in found.warnings[0]


def test_a_mistake_among_dates_is_refused(tmp_path: Path) -> None:
    days = ["2024-01-30", "2024-01-31", "", "unknown", "2024-02-01", "2024-02-30"]
    frame = table(day=np.resize(days, ROWS))
    frame.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(BadInputError) as caught:
        load_dataset(str(tmp_path / "data.csv"), "kind")
    assert "column 'day' holds 'unknown' in row 4 among dates or times in ISO 8601 (20 of 50 values" in str(
        caught.value
    )
    assert 'csv.missing: ["unknown"]' in str(caught.value)
    found = loaded(tmp_path, frame, CsvSettings(missing=["unknown", "2024-02-30"]))
    assert [column.kind for column in found.columns] == ["number", "datetime"]


def test_a_copy_of_a_predicted_number_is_named(tmp_path: Path) -> None:
    frame = table().assign(kind=lambda frame: frame["a"] * 2 + 1, b=np.random.default_rng(5).normal(size=ROWS))
    found = loaded(tmp_path, frame)
    assert [concern.column for concern in found.concerns] == ["a"]


def test_a_nearly_constant_column_is_named(tmp_path: Path) -> None:
    frame = pd.concat([table(rare=0)] * 4, ignore_index=True)
    frame.loc[3, "rare"] = 1
    assert "same value in 99.6% of the rows" in loaded(tmp_path, frame).warnings[0]


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "diabetes"])
def test_good_tables_raise_no_concerns(name: str) -> None:
    dataset = load_dataset(name)
    assert dataset.warnings == ()
    assert dataset.centred == ()


def test_columns_that_float32_holds_too_coarsely_are_centred(tmp_path: Path) -> None:
    day = np.resize([20240114, 20240115, 20240116], ROWS)
    north = 5_799_895.25 + np.arange(ROWS) % 7 * 0.25
    found = loaded(tmp_path, table(day=day, north=north))
    assert found.centred == ("day", "north")
    assert found.concerns == ()
    assert (found.rows[:, 1] == day).all()
    assert (found.rows[:, 2] == north).all()


# --- through the command line -----------------------------------------------------------------------------------------


def run(training: Training, frame: pd.DataFrame, *options: str, target: str = "kind") -> Any:
    frame.to_csv("data.csv", index=False)
    return training("run", "--data", "data.csv", "--target", target, "--json", *options)


@pytest.mark.parametrize("label", [".", "..", "None"])
def test_classes_of_any_name_are_registered(training: Training, label: str) -> None:
    outcome = run(training, table().replace({"kind": {"left": label}}))
    assert outcome.code == 0, outcome.err
    assert "recall/right" in outcome.json["metrics"]


def test_a_target_of_any_name_is_registered(training: Training) -> None:
    outcome = run(training, table().rename(columns={"kind": "self"}), target="self")
    assert outcome.code == 0, outcome.err


def test_a_leak_is_reported_and_can_be_refused(training: Training, tmp_path: Path) -> None:
    frame = table(code=np.repeat([0, 1], ROWS // 2))
    warned = run(training, frame)
    assert warned.code == 0, warned.err
    assert "column 'code' repeats the target" in warned.err
    assert any("'code'" in note for note in warned.json["notes"])
    assert "'code'" in check(warned, "columns")["detail"]

    (tmp_path / "training.yaml").write_text("data: data.csv\nname: leak\ntarget: kind\ngate: {columns: refuse}\n")
    refused = training("run", "--model-dir", str(tmp_path), "--json")
    assert refused.code == 2
    assert not check(refused, "columns")["passed"]
    assert "gate: columns: 1, must be at most 0 (columns that a model should not learn from: 'code')" in refused.err


def test_a_class_that_is_never_named_stops_the_model_unless_allowed(training: Training, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=300), "kind": ["common"] * 290 + ["rare"] * 10})
    refused = run(training, frame)
    assert refused.code == 2
    assert "classes that are never predicted: 'rare'" in check(refused, "classes")["detail"]
    (tmp_path / "training.yaml").write_text("data: data.csv\nname: rare\ntarget: kind\ngate: {classes: warn}\n")
    allowed = training("run", "--model-dir", str(tmp_path), "--json")
    assert check(allowed, "classes")["passed"]
    assert "'rare'" in check(allowed, "classes")["detail"]


@pytest.mark.parametrize("model", ["logistic-regression", "random-forest", "hist-gradient-boosting"])
def test_large_offsets_and_dates_as_numbers_pass_the_gate(training: Training, model: str) -> None:
    days = np.repeat([20240114, 20240115, 20240116, 20240117], 30)
    frame = pd.DataFrame({"day": days, "north": 5_799_895.25 + np.arange(120) % 50 * 0.25})
    frame["kind"] = np.where(days < 20240116, "before", "after")
    outcome = run(training, frame, "--model", model)
    assert outcome.code == 0, outcome.err
    assert outcome.json["metrics"]["accuracy"] == 1
    assert check(outcome, "parity")["figure"] < 1e-5


def test_an_evaluation_reuses_the_csv_settings(training: Training) -> None:
    table().to_csv("data.csv", index=False, sep="#")
    outcome = training("run", "--data", "data.csv", "--target", "kind", "--csv-separator", "#", "--json")
    assert outcome.code == 0, outcome.err
    again = training("evaluate", f"{outcome.json['name']}@candidate", "--json")
    assert again.code == 0, again.err
    assert again.json["same_data"]


def test_a_request_that_mlflow_refuses_is_not_an_outage(training: Training) -> None:
    # This name is as long as the names of 25,000 columns, which is more than MLflow accepts.
    outcome = run(training, table().rename(columns={"a": "a" * 1_100_000}))
    assert outcome.code == 2, outcome.err
    assert "refuses the request: 'schema' exceeds the maximum length" in outcome.err


def check(outcome: Any, name: str) -> Any:
    (found,) = (entry for entry in outcome.json["gate"]["checks"] if entry["name"] == name)
    return found


def test_an_evaluation_reuses_the_settings_of_many_columns(training: Training, tmp_path: Path) -> None:
    """MLflow cuts a parameter off after 6000 characters."""
    columns = {f"a column that nobody learns from {number}": {"drop": True} for number in range(120)}
    table(**{name: np.arange(ROWS) for name in columns}).to_csv("data.csv", index=False)
    content = {"data": "data.csv", "name": "wide", "target": "kind", "columns": columns}
    (tmp_path / "training.yaml").write_text(json.dumps(content))
    outcome = training("run", "--model-dir", str(tmp_path), "--json")
    assert outcome.code == 0, outcome.err
    again = training("evaluate", "wide@candidate", "--json")
    assert again.code == 0, again.err
    assert again.json["same_data"] is True
