"""Columns of every kind: both runtimes answer like the pipeline, by position and by name, with missing values."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from services.serving.tests import mixed
from services.serving.tests.conftest import Bundle, Serve, running, until_ready
from services.serving.tests.mixed import COLUMNS, NAMES, ROW, requested, write_mixed
from serving.errors import InvalidInputError, ModelUnusableError
from serving.features import RowReader
from serving.opening import Opened, open_folder
from serving.runtimes.base import RuntimeOptions

COUNTED = 'serving_unknown_categories_total{column="%s",model_name="iris-classifier"} %s.0'
FITTED = mixed.fitted()
VALUES = [ROW[name] for name in NAMES]


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("penguins")
    return Bundle(folder, write_mixed(folder, drift=True))


@pytest.fixture(scope="module")
def api(penguins: Bundle) -> Any:
    with running(penguins.pin()) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module")
def penguins_opened(penguins: Bundle) -> Opened:
    return opened(penguins.folder)


@pytest.fixture(scope="module")
def penguins_reader(penguins_opened: Opened) -> RowReader:
    return penguins_opened.reader


def opened(folder: Path, prefer: Any = "auto") -> Opened:
    return open_folder(folder, RuntimeOptions(prefer=prefer))


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_both_runtimes_answer_like_the_pipeline(penguins: Bundle, runtime: Any) -> None:
    found = opened(penguins.folder, runtime)
    assert found.runtime.name == runtime
    rows = mixed.table()
    expected = FITTED.predict_proba(rows)
    read = found.reader.many([requested(row) for row in rows])
    np.testing.assert_allclose(found.runtime.run(read), expected, atol=1e-5)
    for row, probabilities in zip(rows[:20], expected, strict=False):
        alone = found.reader.one(dict(zip(NAMES, requested(row), strict=True)))
        np.testing.assert_allclose(found.runtime.run(alone)[0], probabilities, atol=1e-5)


def test_rows_by_position_and_by_name(api: httpx.Client) -> None:
    by_position = api.post("/predict", json={"features": VALUES}).json()
    shuffled = dict(sorted(ROW.items(), reverse=True))
    assert api.post("/predict", json={"features": shuffled}).json()["probability"] == by_position["probability"]
    many = api.post("/predict", json={"instances": [VALUES, shuffled, VALUES]}).json()["predictions"]
    assert [answer["probability"] for answer in many] == [by_position["probability"]] * 3


def test_dates_in_every_form_are_the_same_moment(api: httpx.Client) -> None:
    forms = [
        "2023-11-15T08:30:00Z",
        "2023-11-15 09:30+01:00",
        "2023-11-15T08:30",
        "20231115T083000",
        mixed.SEEN,
        1700037000,
    ]
    answers = [api.post("/predict", json={"features": {**ROW, "seen": form}}).json()["probability"] for form in forms]
    assert len(set(answers)) == 1


def test_optional_values_may_be_null_or_absent(api: httpx.Client) -> None:
    required = {name: ROW[name] for name in ("island", "eggs", "seen")}
    nulls = {**required, "bill (mm)": None, "sex": None, "ringed": None}
    empty = {**nulls, "sex": ""}
    answers = [api.post("/predict", json={"features": row}) for row in (required, nulls, empty)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["probability"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"island": None}, "expected a string, got null"),
        ({"island": ""}, "expected a string, got an empty one, which means null"),
        ({"island": 5}, "expected a string, got 5"),
        ({"bill (mm)": "39.1"}, "expected a number, got a string ('39.1')"),
        ({"bill (mm)": True}, "expected a number, got a boolean"),
        ({"sex": False}, "expected a string, got a boolean"),
        ({"eggs": None}, "expected an integer, got null"),
        ({"eggs": 1.5}, "expected an integer, got 1.5"),
        ({"eggs": 2**24 + 1}, "16777216, because the model computes in float32 and would round others"),
        ({"ringed": 1}, "expected true or false, got 1"),
        ({"ringed": "yes"}, "expected true or false, got a string ('yes')"),
        (
            {"seen": "yesterday"},
            "a date as ISO 8601, or seconds since 1970-01-01 UTC, got a string ('yesterday')",
        ),
        ({"seen": 1.7e12}, "(is it in milliseconds?)"),
        ({"seen": None}, "got null"),
    ],
)
def test_values_that_do_not_fit_are_named_by_row_and_column(
    api: httpx.Client, change: dict[str, Any], reason: str
) -> None:
    [name] = change
    row = {**ROW, **change}
    by_name = api.post("/predict", json={"instances": [ROW, row]})
    assert by_name.status_code == 422
    [error] = by_name.json()["errors"]
    assert error["field"] == f"instances[1]['{name}']"
    assert reason in error["reason"]
    by_position = api.post("/predict", json={"features": [row[name] for name in NAMES]})
    assert by_position.status_code == 422
    [error] = by_position.json()["errors"]
    assert error["field"] == f"features[{NAMES.index(name)}]"
    assert reason in error["reason"]
    assert error["reason"].endswith(f"(column '{name}')")


def test_unknown_and_missing_names_are_named(api: httpx.Client) -> None:
    row = {name: value for name, value in ROW.items() if name != "eggs"}
    errors = api.post("/predict", json={"features": {**row, "Eggs": 2, "beak": 1}}).json()["errors"]
    reasons = [error["reason"] for error in errors]
    assert reasons[0].startswith("unknown column 'Eggs'; the model has 'island', 'bill (mm)'")
    assert reasons[1].startswith("unknown column 'beak'")
    assert reasons[2:] == ["column 'eggs' is missing"]


def test_rows_by_name_for_numbers_alone(iris_api: httpx.Client) -> None:
    names = [column["name"] for column in iris_api.get("/model/info").json()["inputs"]]
    row = dict(zip(names, [5.1, 3.5, 1.4, 0.2], strict=True))
    plain = iris_api.post("/predict", json={"features": [5.1, 3.5, 1.4, 0.2]}).json()
    assert iris_api.post("/predict", json={"features": row}).json()["probability"] == plain["probability"]
    several = {"instances": [row, [5.1, 3.5, 1.4, 0.2], dict(reversed(row.items()))]}
    answers = iris_api.post("/predict", json=several).json()["predictions"]
    assert [answer["probability"] for answer in answers] == [plain["probability"]] * 3
    [error] = iris_api.post("/predict", json={"features": {**row, names[1]: "x"}}).json()["errors"]
    assert error == {"field": f"features['{names[1]}']", "reason": "expected a number, got a string ('x')"}


def test_unknown_categories_are_answered_and_counted(serve: Serve, penguins: Bundle) -> None:
    api = serve(penguins.pin())
    until_ready(api)
    assert COUNTED % ("island", 0) in api.get("/metrics").text
    for row in ({**ROW, "island": "Elsewhere"}, {**ROW, "island": "Ünknöwn 🐧", "sex": None}, ROW):
        assert api.post("/predict", json={"features": row}).status_code == 200
    found = api.get("/metrics").text
    assert COUNTED % ("island", 2) in found
    assert COUNTED % ("sex", 0) in found


def test_they_are_refused_and_counted_if_the_model_says_so(serve: Serve, tmp_path: Path) -> None:
    strict = [{**COLUMNS[0], "unknown": "refuse"}, *COLUMNS[1:]]
    api = serve(Bundle(tmp_path, write_mixed(tmp_path, columns=strict)).pin())
    until_ready(api)
    assert api.post("/predict", json={"features": ROW}).status_code == 200
    answer = api.post("/predict", json={"features": {**ROW, "island": "Elsewhere"}})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["reason"] == "unknown category 'Elsewhere', known ones are 'Biscoe', 'Dream', 'Torgersen'"
    assert (
        'serving_unknown_categories_total{column="island",model_name="iris-classifier"} 1.0' in api.get("/metrics").text
    )


def test_without_metadata_the_signature_is_enough(tmp_path: Path) -> None:
    write_mixed(tmp_path, columns=None, example=None)
    found = opened(tmp_path)
    assert [column.kind for column in found.spec.columns] == [column["kind"] for column in COLUMNS]
    assert [column.optional for column in found.spec.columns] == [column["optional"] for column in COLUMNS]


def test_the_example_of_a_baseline_fits(tmp_path: Path) -> None:
    write_mixed(tmp_path, example=None, drift=True)
    example = opened(tmp_path).example
    assert example[0] in COLUMNS[0]["categories"]
    assert str(example[5]).startswith("20")


def changed(index: int, **changes: Any) -> list[Any]:
    return [{**column, **changes} if at == index else column for at, column in enumerate(COLUMNS)]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (COLUMNS[:-1], "lists 5 columns in metadata.columns, but 6 in its signature"),
        (changed(1, name="bill"), r"metadata.columns\[1\].name that it is 'bill'"),
        (changed(1, kind="category"), r"metadata.columns\[1\].kind that it is 'category'"),
        (changed(0, optional=True), r"metadata.columns\[0\].optional that it is true"),
        (changed(1, kind="words"), r"Invalid enum value 'words' - at `\$.metadata.columns\[1\].kind"),
        (changed(1, categories=["a"]), r"categories or unknown: refuse in metadata.columns\[1\]"),
        (changed(0, categories=[], unknown="refuse"), r"metadata.columns\[0\].unknown, but lists none"),
        (changed(0, categories=["a", "a"]), r"a repeated category in metadata.columns\[0\].categories"),
    ],
)
def test_metadata_that_contradicts_the_signature_is_refused(tmp_path: Path, columns: Any, reason: str) -> None:
    write_mixed(tmp_path, columns=columns)
    with pytest.raises(ModelUnusableError, match=reason):
        opened(tmp_path)


def retyped(folder: Path, index: int, kind: str) -> None:
    """Change the type of a column in the signature."""
    file = folder / "MLmodel"
    document = yaml.safe_load(file.read_text())
    inputs = json.loads(document["signature"]["inputs"])
    inputs[index]["type"] = kind
    document["signature"]["inputs"] = json.dumps(inputs)
    file.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("index", "kind", "reason"),
    [
        (
            0,
            "double",
            r"`column_0` of its ONNX graph is a tensor\(string\), but its column 'island' is of kind number",
        ),
        (
            1,
            "string",
            r"`column_1` of its ONNX graph is a tensor\(float\), but its column 'bill \(mm\)' is of kind cat",
        ),
        (3, "datetime", r"its column 'eggs' is a datetime, and a tensor\(float\) would round"),
    ],
)
def test_a_graph_of_other_kinds_is_refused(tmp_path: Path, index: int, kind: str, reason: str) -> None:
    write_mixed(tmp_path, columns=None)
    retyped(tmp_path, index, kind)
    with pytest.raises(ModelUnusableError, match=reason):
        opened(tmp_path)


def test_a_graph_of_another_form_is_refused(tmp_path: Path, iris: Bundle) -> None:
    write_mixed(tmp_path)
    (tmp_path / "model.onnx").write_bytes((iris.folder / "model.onnx").read_bytes())
    with pytest.raises(
        ModelUnusableError, match=r"one input for each of its 6 columns .*as 'island' is text, but has 'fe"
    ):
        opened(tmp_path)


def test_drift_of_categories_and_nulls_shows(serve: Serve, penguins: Bundle) -> None:
    api = serve(penguins.pin())
    until_ready(api)
    rows = [requested(row) for row in mixed.table()]
    api.post("/predict", json={"instances": rows})
    found = indices(api)
    assert sorted(found) == sorted(NAMES)
    assert max(found.values()) < 0.05
    elsewhere = [["Elsewhere", None, *row[2:]] for row in rows]
    for _ in range(3):
        api.post("/predict", json={"instances": elsewhere})
    found = indices(api)
    assert found["island"] > 1
    assert found["bill (mm)"] > 1
    assert found["sex"] < 0.05


def indices(api: httpx.Client) -> dict[str, float]:
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {
        sample.labels["feature"]: sample.value
        for family in families
        if family.name == "serving_input_psi"
        for sample in family.samples
    }


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(VALUES)


@given(st.lists(anything, min_size=6, max_size=6), st.booleans())
def test_any_row_is_read_or_refused(penguins_reader: RowReader, values: list[Any], named: bool) -> None:
    row: Any = dict(zip(NAMES, values, strict=True)) if named else values
    try:
        read = penguins_reader.one(row)
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            penguins_reader.many([row, row])
        return
    kinds = [type(value) for value in read[0]]
    assert kinds == [str, float, str, float, float, float]
    again = penguins_reader.many([row, row])
    assert [[repr(value) for value in each] for each in again] == [[repr(value) for value in read[0]]] * 2


@given(
    st.sampled_from(["Biscoe", "Dream", "Torgersen"]) | st.text(min_size=1, max_size=10),
    st.none() | st.floats(-1000, 1000),
    st.none() | st.sampled_from(["female", "male", ""]) | st.text(max_size=10),
    st.integers(-100, 100),
    st.none() | st.booleans(),
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
)
@settings(deadline=None)
def test_every_row_is_answered_as_by_the_pipeline(
    penguins_opened: Opened, island: str, bill: Any, sex: Any, eggs: int, ringed: Any, seen: datetime
) -> None:
    row = [island, bill, sex, eggs, ringed, seen.isoformat()]
    found = penguins_opened.runtime.run(penguins_opened.reader.one(row))
    nan = float("nan")
    seconds = seen.replace(tzinfo=UTC).timestamp()
    plain = [island, nan if bill is None else bill, sex or "", float(eggs), nan if ringed is None else float(ringed)]
    expected = FITTED.predict_proba(np.array([[*plain, seconds]], dtype=object))
    np.testing.assert_allclose(found, expected, atol=1e-4)
