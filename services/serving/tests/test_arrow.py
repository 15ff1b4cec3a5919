"""Tables as Arrow IPC streams: those of pyarrow and others can be read, and pyarrow can read the answers."""

import datetime as dt
import gzip
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from services.serving.tests import mixed
from services.serving.tests.bundles import COLUMNS
from services.serving.tests.conftest import Bundle, Serve, running, until_ready
from serving import arrow
from serving.arrow_messages import _COLUMNS, _LENGTH, DICTIONARY, field, messages, table
from serving.errors import ServingError
from serving.opening import open_folder
from serving.runtimes.base import RuntimeOptions

ARROW = "application/vnd.apache.arrow.stream"
IRIS = load_iris().data


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("penguins")
    with running(Bundle(folder, mixed.write_mixed(folder)).pin()) as client:
        until_ready(client)
        yield client


def stream(table: pa.Table, rows_a_part: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, rows_a_part)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def iris_table(dtype: str = "float64") -> pa.Table:
    return pa.table({name: values.astype(dtype) for name, values in zip(COLUMNS, IRIS.T, strict=True)})


def post(api: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    return api.post("/predict", content=body, headers={"content-type": ARROW, **headers})


def answered(response: httpx.Response) -> pa.Table:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == ARROW
    assert response.headers["x-model-version"] == "7"
    return pa.ipc.open_stream(response.content).read_all()


def in_json(api: httpx.Client, rows: list[Any]) -> list[dict[str, Any]]:
    answer = api.post("/predict", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("rows_a_part", [None, 7])
def test_a_table_is_answered_like_json(iris_api: httpx.Client, dtype: str, rows_a_part: int | None) -> None:
    table = iris_table(dtype)
    found = answered(post(iris_api, stream(table, rows_a_part))).to_pydict()
    expected = in_json(iris_api, [list(row.values()) for row in table.to_pylist()])
    assert found["prediction"] == [each["prediction"] for each in expected]
    assert found["probability"] == pytest.approx([each["probability"] for each in expected], abs=1e-6)


def test_columns_are_found_by_name_and_json_is_sent_if_it_is_accepted(iris_api: httpx.Client) -> None:
    table = iris_table().select(COLUMNS[::-1]).slice(1, 3)
    answer = post(iris_api, stream(table), accept="application/json")
    assert answer.json()["predictions"] == in_json(iris_api, IRIS[1:4].tolist())
    assert answer.json()["model_version"] == "7"


def test_regression_and_whole_numbers(serve: Serve, diabetes: Bundle) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    table = pa.table({f"column {index}": pa.array([0, 1], [pa.int8(), pa.uint64()][index % 2]) for index in range(10)})
    found = answered(post(api, stream(table)))
    expected = in_json(api, [[0] * 10, [1] * 10])
    assert found["prediction"].to_pylist() == pytest.approx([each["prediction"] for each in expected])
    assert found.column_names == ["prediction"]


def penguin_table(rows: list[dict[str, Any]], **types: pa.DataType) -> pa.Table:
    kinds = {
        "island": pa.string(), "bill (mm)": pa.float64(), "sex": pa.string(), "eggs": pa.int64(), "ringed": pa.bool_(),
        "seen": pa.timestamp("us"), **types,
    }  # fmt: skip
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})


PENGUIN = {"island": "Torgersen", "bill (mm)": 39.1, "sex": "male", "eggs": 2, "ringed": True}
MOMENT = dt.datetime.fromtimestamp(mixed.SEEN, dt.UTC)
GAPS: dict[str, Any] = {**PENGUIN, "bill (mm)": None, "sex": None, "ringed": None}


@pytest.mark.parametrize(
    "types",
    [
        {},
        {
            "island": pa.large_string(),
            "sex": pa.dictionary(pa.int8(), pa.large_string()),
            "seen": pa.timestamp("ns", "UTC"),
        },
        {"island": pa.dictionary(pa.int32(), pa.string()), "eggs": pa.uint8(), "seen": pa.timestamp("s", "Asia/Tokyo")},
        {"seen": pa.timestamp("ms"), "eggs": pa.float32()},
    ],
)
def test_columns_of_every_kind_and_gaps(penguins: httpx.Client, types: dict[str, pa.DataType]) -> None:
    rows = [{**PENGUIN, "seen": MOMENT}, {**GAPS, "seen": MOMENT}, {**PENGUIN, "ringed": False, "seen": MOMENT}]
    found = answered(post(penguins, stream(penguin_table(rows, **types)))).to_pydict()
    expected = in_json(penguins, [{**row, "seen": mixed.SEEN} for row in rows])
    assert found["prediction"] == [each["prediction"] for each in expected]
    assert found["probability"] == pytest.approx([each["probability"] for each in expected], abs=1e-6)


def test_optional_columns_may_be_absent_or_null_and_dates_are_moments(penguins: httpx.Client) -> None:
    day = dt.date(2023, 11, 15)
    table = penguin_table([{**GAPS, "seen": day}], seen=pa.date32(), **{"bill (mm)": pa.null(), "sex": pa.null()})
    text = penguin_table([{**GAPS, "seen": "2023-11-15"}], seen=pa.string())
    found = [answered(post(penguins, stream(each))) for each in (table, table.drop_columns(["sex"]), text)]
    assert found[0] == found[1] == found[2]


def test_what_pandas_writes(penguins: httpx.Client) -> None:
    frame = pd.DataFrame([{**PENGUIN, "seen": MOMENT}] * 3).astype({"island": "category"})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    assert len(answered(post(penguins, stream(table))).to_pandas()) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eggs": pa.array([2.5])}, ["columns['eggs']", "expected an integer, got 2.5"]),
        ({"eggs": pa.array([None], pa.int64())}, ["columns['eggs']", "null"]),
        ({"eggs": pa.array([2**24 + 1])}, ["columns['eggs']", "between"]),
        ({"island": pa.array([3])}, ["columns['island']", "expected text"]),
        ({"island": pa.array([""])}, ["columns['island']", "empty one"]),
        ({"bill (mm)": pa.array([True])}, ["columns['bill (mm)']", "not true or false"]),
        ({"bill (mm)": pa.array([Decimal("1.5")])}, ["columns['bill (mm)']", "decimal128", "send numbers"]),
        ({"sex": pa.array([["male"]])}, ["columns['sex']", "list"]),
        ({"sex": pa.array([3]).dictionary_encode()}, ["columns['sex']", "dictionary"]),
        ({"height": pa.array([1.0])}, ["columns['height']", "unknown column; the model has 'island'"]),
        ({"eggs": None}, ["columns['eggs']", "missing"]),
        ({"eggs": None, "eggz": pa.array([2])}, ["columns['eggz']", "unknown column", "columns['eggs']"]),
    ],
)
def test_what_does_not_fit_is_named(penguins: httpx.Client, change: dict[str, Any], words: list[str]) -> None:
    table = penguin_table([{**PENGUIN, "seen": MOMENT}])
    columns = dict(zip(table.column_names, table.columns, strict=True)) | change
    answer = post(penguins, stream(pa.table({name: values for name, values in columns.items() if values is not None})))
    assert answer.status_code == 422
    told = " ".join(f"{error['field']}: {error['reason']}" for error in answer.json()["errors"])
    for each in words:
        assert each in told


def test_columns_of_one_name_are_refused(iris_api: httpx.Client) -> None:
    table = pa.Table.from_arrays([pa.array([1.0])] * 4, names=[*COLUMNS[:3], COLUMNS[0]])
    answer = post(iris_api, stream(table))
    assert answer.status_code == 422
    assert "missing" in answer.text


@pytest.mark.parametrize("packed", ["zstd", "lz4"])
def test_compressed_buffers_are_refused_before_they_are_decompressed(iris_api: httpx.Client, packed: str) -> None:
    zeros = pa.table({name: np.zeros(1_000_000) for name in COLUMNS})
    body = stream(zeros, compression=packed)
    answer = post(iris_api, body)
    assert answer.status_code == 422
    assert "compressed" in answer.text


def test_rows_are_bounded_before_they_are_read(iris_api: httpx.Client) -> None:
    nulls = pa.table({name: pa.nulls(2**31 - 1) for name in COLUMNS})
    for body in (stream(nulls), stream(nulls, 2**28)):
        answer = post(iris_api, body)
        assert answer.status_code == 413
        assert "at most" in answer.text
    answer = post(iris_api, stream(iris_table().slice(0, 0)))
    assert answer.status_code == 422
    assert "at least one row" in answer.text


def test_a_table_may_be_gzip_and_is_refused_by_other_paths(iris_api: httpx.Client) -> None:
    body = gzip.compress(stream(iris_table()))
    assert answered(post(iris_api, body, **{"content-encoding": "gzip"})).num_rows == 150
    answer = iris_api.post("/invocations", content=stream(iris_table()), headers={"content-type": ARROW})
    assert answer.status_code == 415
    assert "/predict" in answer.text


def test_without_the_extra_the_error_names_it(serve: Serve, iris: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.api.predict.find_spec", lambda _: None)
    api = serve(iris.pin())
    until_ready(api)
    answer = post(api, stream(iris_table()))
    assert answer.status_code == 415
    assert "extra `arrow`" in answer.text
    assert answer.headers["accept"] == "application/json"


def test_tables_that_come_during_the_import_for_the_first_one(
    serve: Serve, iris: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "serving.arrow", ModuleType("half of it"))

    def slow(_: str) -> ModuleType:
        time.sleep(0.3)
        return arrow

    monkeypatch.setattr("serving.api.predict.import_module", slow)
    api = serve(iris.pin())
    until_ready(api)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(api, stream(iris_table())), range(4)))
    assert [answered(answer).num_rows for answer in answers] == [150] * 4


@pytest.fixture(scope="module")
def opened(iris: Bundle) -> Any:
    return open_folder(iris.folder, RuntimeOptions())


GOOD = stream(iris_table().slice(0, 5), 2)
DICTIONARIES = stream(pa.table({name: pa.array(["a", None, "b"]).dictionary_encode() for name in COLUMNS}))
MIXED = stream(
    penguin_table([{**PENGUIN, "seen": MOMENT}, {**GAPS, "seen": MOMENT}], sex=pa.dictionary(pa.int8(), pa.string()))
)


@pytest.fixture(scope="module")
def opened_mixed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mixed")
    mixed.write_mixed(folder)
    return open_folder(folder, RuntimeOptions())


# Single bytes, and the four-byte offsets of the format.
places = st.integers(0, 10_000)
byte = st.tuples(places, st.integers(0, 255).map(lambda value: bytes([value])))
step = st.tuples(
    places.map(lambda at: at - at % 4),
    (st.integers(-(2**31), 2**31 - 1) | st.integers(-64, 64)).map(lambda value: struct.pack("<i", value)),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([GOOD, DICTIONARIES, MIXED]), st.lists(byte | step, max_size=6), st.integers(0, 400))
@example(GOOD, [(1504, b"\x03")], 0)
def test_any_bytes_are_read_or_refused(
    opened: Any, opened_mixed: Any, good: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    body = bytearray(good[: len(good) - cut])
    for at, value in changes:
        start = at % len(body)
        body[start : start + len(value)] = value
    reader = (opened_mixed if good is MIXED else opened).reader
    try:
        rows = arrow.read(bytes(body), reader, 100)
    except ServingError:
        return
    assert 0 < len(rows if not isinstance(rows, tuple) else rows[0]) <= 100


def test_tables_that_take_long_to_read_are_refused(opened_mixed: Any) -> None:
    wide = stream(pa.table({f"column {place}": [1.0] for place in range(10_001)}))
    codes = [pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), [str(number)]) for number in range(1001)]
    others = penguin_table([{**PENGUIN, "seen": MOMENT}] * 1001)
    many = stream(others.set_column(others.column_names.index("sex"), "sex", pa.chunked_array(codes)), 1)
    for body, words in ((wide, "10001 columns"), (many, "more than 1000 dictionaries")):
        with pytest.raises(ServingError) as refused:
            arrow.read(body, opened_mixed.reader, 5000)
        assert words in str(refused.value)


@pytest.mark.parametrize("delta", [False, True])
def test_dictionaries_may_grow_or_be_replaced_in_a_stream(penguins: httpx.Client, delta: bool) -> None:
    first = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), ["male"])
    second = pa.DictionaryArray.from_arrays(pa.array([1], pa.int8()), ["male", "female"])
    rows = penguin_table([{**PENGUIN, "seen": MOMENT}, {**PENGUIN, "sex": "female", "seen": MOMENT}])
    place = rows.column_names.index("sex")
    table = rows.set_column(place, "sex", pa.chunked_array([first, second]))
    found = answered(post(penguins, stream(table, emit_dictionary_deltas=delta))).to_pydict()
    assert found == answered(post(penguins, stream(rows))).to_pydict()


def test_labels_of_all_kinds_are_written() -> None:
    result = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)

    class About:
        labels = "largest"
        classes: tuple[Any, ...] = ()

    for classes in (("no", "ÿes"), (3, -4), (False, True), ("a", 1)):
        about: Any = About()
        about.classes = classes
        table = pa.ipc.open_stream(arrow.written(result, about)).read_all()
        expected = [str(label) if len(set(map(type, classes))) > 1 else label for label in classes]
        assert table["prediction"].to_pylist() == [expected[1], expected[0]]
        assert table["probability"].to_pylist() == [0.75, 0.5]


@pytest.mark.parametrize("index", [pa.int8(), pa.int32()])
def test_a_dictionary_that_claims_more_texts_than_it_has_takes_no_memory(opened: Any, index: pa.DataType) -> None:
    """The limit of rows does not apply to a dictionary, and an array of the claimed size would fill the memory."""
    codes = pa.DictionaryArray.from_arrays(pa.array([0], index), ["a"])
    body = bytearray(stream(pa.table(dict.fromkeys(COLUMNS, codes))))
    promised = 0
    for message in messages(bytes(body)):
        if message.kind == DICTIONARY:
            data = message.rows_in(bytes(body))
            columns = table(bytes(body), data, _COLUMNS) + 4
            for at in (field(bytes(body), data, _LENGTH), columns):
                struct.pack_into("<q", body, at, 2**24)
            promised += 1
    assert promised == len(COLUMNS)
    tracemalloc.start()
    try:
        with pytest.raises(ServingError, match="fewer values than rows"):
            arrow.read(bytes(body), opened.reader, 100)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_no_more_errors_are_reported_than_for_json(serve: Serve, diabetes: Bundle) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    answer = post(api, stream(pa.table({f"other {place}": [1.0] for place in range(10)})))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 10
