"""Proves that tables become typed data sets, and that unusable ones are refused in one sentence."""

import contextlib
import gzip
from pathlib import Path

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from training.data import BUILT_IN, default_model_name, load_dataset
from training.errors import BadInputError
from training.kinds import numeric
from training.split import split_dataset


def csv(folder: Path, content: str | bytes, name: str = "data.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def refusal(source: str, target: str | None = "y", task: object = None) -> str:
    with pytest.raises(BadInputError) as caught:
        load_dataset(source, target, task)  # type: ignore[arg-type] # tests also give wrong types
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert source in sentence
    return sentence


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_data_sets_load(name: str) -> None:
    dataset = load_dataset(name)
    assert dataset.rows.shape == (len(dataset.truth), len(dataset.features))
    assert dataset.task == ("regression" if name == "diabetes" else "classification")
    assert default_model_name(dataset) == BUILT_IN[name].model_name


def test_iris_has_class_names() -> None:
    assert load_dataset("iris").classes == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ("x y x", "classification", ("x", "y")),
        ("3 1 3", "classification", (1, 3)),
        ("True False True", "classification", (False, True)),
        ("0.5 1.5 2.0", "regression", ()),
    ],
)
def test_the_type_of_the_target_decides_the_task(
    tmp_path: Path, values: str, task: str, classes: tuple[object, ...]
) -> None:
    rows = "\n".join(f"{index},{value}" for index, value in enumerate(values.split()))
    dataset = load_dataset(csv(tmp_path, f"a,y\n{rows}\n"), "y")
    assert (dataset.task, dataset.classes) == (task, classes)
    assert [type(label) for label in dataset.classes] == [type(label) for label in classes]


def test_the_task_can_be_overridden(tmp_path: Path) -> None:
    numbers = csv(tmp_path, "a,y\n1,3\n2,1\n")
    assert load_dataset(numbers, "y", "regression").truth.tolist() == [3.0, 1.0]
    whole = csv(tmp_path, "a,y\n1,3.0\n2,1.0\n", "whole.csv")
    assert load_dataset(whole, "y", "classification").classes == (1, 3)


def test_parquet_and_csv_agree(tmp_path: Path, blobs: pd.DataFrame) -> None:
    blobs.to_parquet(tmp_path / "blobs.parquet")
    blobs.to_csv(tmp_path / "blobs.csv", index=False)
    (tmp_path / "blobs.csv.gz").write_bytes(gzip.compress((tmp_path / "blobs.csv").read_bytes()))
    loaded = [load_dataset(str(tmp_path / name), "kind") for name in ("blobs.parquet", "blobs.csv", "blobs.csv.gz")]
    assert len({dataset.sha256 for dataset in loaded}) == 1
    assert {dataset.name for dataset in loaded} == {"blobs"}
    assert default_model_name(loaded[0]) == "blobs"


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    contents = ["a,y\n1,x\n2,z\n", "a,y\n1,x\n3,z\n", "a,y\n1,x\n2,w\n", "b,y\n1,x\n2,z\n"]
    hashes = {load_dataset(csv(tmp_path, content), "y").sha256 for content in contents}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the file is empty"),
        ("a,y\n", "no rows"),
        ("a,y\n,x\n,z\n", "column 'a' has no value in any row"),
        ("a,y\n1,x\n2,\n", "column 'y' has 1 empty"),
        ("a,y\n1,x\n2,x\n", "column 'y' has the same value in every row"),
        ("a,y\nred,x\n2,z\n3,z\n", "column 'a' holds 'red' in row 1 among numbers"),
        ("a,y\n1,x\ninf,z\n", "column 'a' holds inf in row 2"),
        ("a,y\n1,x\n1e39,z\n", "column 'a' holds 1e+39 in row 2"),
        ("a,a,y\n1,2,x\n2,3,z\n", "column 'a' occurs more than once"),
        ("a,,y\n0,1,x\n1,2,z\n", "column 2 has no name"),
        ("a,y\n1,2,x\n1,3,z\n", "rows have more fields than the header"),
        (
            "a,y\n1,x\n1,2,3,z\n",
            "line 3 has 4 fields, but the lines before have 2, with a comma between fields: put quotes",
        ),
        ("a,b,y\n1,Bonn,x\n2,Rome, Italy,z\n", "line 3 has 4 fields, but the lines before have 3, with a comma"),
        ('a,y\n1,"x\n2,z\n', "a quote is opened, but never closed (EOF inside string starting at row 1)"),
        ("y\nx\nz\n", "no column besides the target"),
        ("a,b\n1,2\n", "no column 'y' to predict. The columns are 'a', 'b'"),
        ("a,Y\n1,2\n", "no column 'y'"),
        (b"a,y\n\xff\x81,x\n", "not UTF-8"),
    ],
)
def test_bad_csv_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in refusal(csv(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "task", "says"),
    [
        ("a,y\n1,0.5\n2,1.5\n", "classification", "fractional numbers"),
        ("a,y\n1,x\n2,z\n", "regression", "holds strings; regression predicts numbers"),
        ("a,y\n1,inf\n2,1.5\n", None, "infinite"),
        ("a,y\n1,18446744073709551615\n2,1\n", None, "beyond 64 bits"),
    ],
)
def test_targets_that_do_not_fit_the_task_are_refused(tmp_path: Path, content: str, task: object, says: str) -> None:
    assert says in refusal(csv(tmp_path, content), task=task)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "name the column to predict" in refusal(csv(tmp_path, "a,y\n1,x\n"), target=None)
    assert "a data file ends in" in refusal(csv(tmp_path, "a,y\n", "data.xlsx"))
    assert "not a Parquet file" in refusal(csv(tmp_path, "a,y\n", "data.parquet"))
    assert "cannot be read" in refusal(csv(tmp_path, "a,y\n", "data.csv.gz"))
    assert "cut off" in refusal(csv(tmp_path, gzip.compress(b"a,y\n" * 999)[:20], "cut.csv.gz"))
    whole = gzip.compress("".join(f"{number},x\n" for number in range(999)).encode())
    assert "cut off or damaged" in refusal(csv(tmp_path, whole[:10] + b"\xff" * 20 + whole[30:], "damaged.csv.gz"))
    (tmp_path / "folder.csv").mkdir()
    assert "folder" in refusal(str(tmp_path / "folder.csv"))


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    sentence = refusal("irs", target=None)
    assert 'Did you mean "iris"?' in sentence
    assert "breast-cancer" in sentence


@pytest.mark.parametrize("values", [pd.to_timedelta(["1h", "2h"]), [b"x", b"z"], [{"k": 1}, {"k": 2}]])
def test_unknown_column_types_are_refused(tmp_path: Path, values: object) -> None:
    pd.DataFrame({"a": values, "y": [1, 2]}).to_parquet(tmp_path / "data.parquet")
    assert "column 'a' holds" in refusal(str(tmp_path / "data.parquet"))
    assert "(the target)" in refusal(str(tmp_path / "data.parquet"), target="a")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='a,y\n"1 .', max_size=80),
        st.text(max_size=80),
    )
)
def test_any_bytes_load_or_are_refused(tmp_path: Path, content: bytes | str) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    with contextlib.suppress(BadInputError):
        dataset = load_dataset(csv(tmp_path, data), "y")
        for index, column in enumerate(dataset.columns):
            if not column.is_text:
                assert not np.isinf(numeric(dataset.rows, index)).any()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=arrays.arrays(np.float64, (12, 2), elements=st.floats(-1e30, 1e30, allow_nan=False, allow_subnormal=False))
)
def test_rows_are_float32_values(tmp_path: Path, values: np.ndarray) -> None:
    table = pd.DataFrame(values, columns=["a", "b"]).assign(y=["x", "z"] * 6)
    table.to_parquet(tmp_path / "data.parquet")
    dataset = load_dataset(str(tmp_path / "data.parquet"), "y")
    for index, name in enumerate(dataset.features):
        exact = dataset.rows[:, index] == dataset.rows[:, index].astype(np.float32)
        assert exact.all() or name in dataset.centred
    assert np.allclose(dataset.rows, values, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("counts", "folds", "says"),
    [
        ((6, 6), 0, "12 rows are too few"),
        ((40, 1), 0, "class 'c1' of column 'y' has 1 row"),
        ((40, 4), 5, "class 'c1' of column 'y' has 4 rows"),
        ((40, 5), 5, "class 'c1' of column 'y' has 5 rows"),
        ((2,) * 40, 0, "has 2 rows"),
    ],
)
def test_too_few_rows_are_refused(tmp_path: Path, counts: tuple[int, ...], folds: int, says: str) -> None:
    labels = [f"c{index}" for index, count in enumerate(counts) for _ in range(count)]
    source = csv(tmp_path, "a,y\n" + "".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    with pytest.raises(BadInputError) as caught:
        split_dataset(load_dataset(source, "y"), seed=1, test_size=0.25, folds=folds)
    assert says in str(caught.value)


def test_splits_are_stratified_and_repeatable() -> None:
    dataset = load_dataset("iris")
    first, second = (split_dataset(dataset, seed=3, test_size=0.2) for _ in range(2))
    assert (first.test_rows == second.test_rows).all()
    assert (np.unique(first.test_truth, return_counts=True)[1] == 10).all()
    assert len(first.train_rows) + len(first.test_rows) == 150
