"""MLflow's scoring protocol: its own client works, and the answers are those of its own server for the same folder."""

import importlib
import json
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from services.serving.tests import mixed
from services.serving.tests.bundles import COLUMNS, SETOSA
from services.serving.tests.conftest import Bundle, Serve, running, until_ready
from services.serving.tests.mixed import NAMES, ROW, write_mixed

TABLE = pd.DataFrame(load_iris().data, columns=COLUMNS)


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("penguins")
    with running(Bundle(folder, write_mixed(folder)).pin()) as client:
        until_ready(client)
        yield client


@pytest.fixture(scope="module", autouse=True)
def _mlflow_loaded() -> None:
    """MLflow warns about its own types while this module loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("mlflow.pyfunc.scoring_server.client")


def mlflow_client(api: httpx.Client) -> Any:
    client = importlib.import_module("mlflow.pyfunc.scoring_server.client")
    return client.ScoringServerClient(api.base_url.host, api.base_url.port)


def predictions(api: httpx.Client, body: Any, status: int = 200) -> Any:
    answer = api.post("/invocations", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["predictions"]


@pytest.fixture(scope="module")
def as_mlflow(_mlflow_loaded: None, iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that answers like `mlflow models serve` for the folder of a model, without its process."""
    folder = tmp_path_factory.mktemp("as-mlflow")
    for file in iris.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    document = yaml.safe_load((folder / "MLmodel").read_text())
    document["signature"]["outputs"] = None
    document["flavors"]["sklearn"] |= {"sklearn_version": "1", "code": None}
    document["flavors"]["python_function"] = {"loader_module": "mlflow.sklearn", "model_path": "model.skops"}
    trusted = "skops_trusted_types"
    document["flavors"]["sklearn"][trusted] = document["flavors"]["python_function"][trusted] = []
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    model = importlib.import_module("mlflow.pyfunc").load_model(str(folder))
    scoring_server = importlib.import_module("mlflow.pyfunc.scoring_server")

    def ask(body: Any) -> Any:
        schema = model.metadata.get_input_schema()
        with warnings.catch_warnings():
            # MLflow passes a table with names to a pipeline that was fitted without names.
            warnings.simplefilter("ignore")
            answer = scoring_server.invocations(json.dumps(body), "application/json", model, schema)
        return json.loads(answer.response)["predictions"]

    return ask


@pytest.mark.slow
def test_answers_are_those_of_mlflows_own_server(iris_api: httpx.Client, as_mlflow: Any) -> None:
    split = TABLE.to_dict(orient="split")
    backwards = TABLE[reversed(COLUMNS)].assign(noise=1).to_dict(orient="split")
    for body in (
        {"dataframe_split": split},
        {"dataframe_split": {"columns": split["columns"], "data": split["data"]}, "params": {}},
        {"dataframe_split": backwards},
        {"dataframe_records": TABLE.to_dict(orient="records")},
        {"instances": TABLE.to_dict(orient="records")},
        {"inputs": TABLE.to_dict(orient="list")},
    ):
        expected = as_mlflow(body)
        assert len(set(expected)) == 3
        assert predictions(iris_api, body) == expected


@pytest.mark.slow
def test_mlflows_own_client(iris_api: httpx.Client, penguins: httpx.Client) -> None:
    client = mlflow_client(iris_api)
    client.ping()
    assert client.get_version().count(".") == 2
    expected = iris_api.post("/predict", json={"instances": TABLE.values.tolist()}).json()["predictions"]
    assert client.invoke(TABLE).get_predictions()[0].tolist() == [each["prediction"] for each in expected]
    rows = mixed.table()
    table = pd.DataFrame({name: rows[:, index] for index, name in enumerate(NAMES)})
    # Like a table with missing values that was read from a file: the client writes NaN for each.
    table = table.assign(sex=table["sex"].replace("", np.nan), eggs=table["eggs"].astype(int))
    table["ringed"] = table["ringed"].map({0.0: False, 1.0: True}).astype(object)
    assert table.isna().any().sum() == 3
    found = mlflow_client(penguins).invoke(table).get_predictions()[0].tolist()
    assert found == mixed.fitted().predict(rows).tolist()


def test_rows_in_every_form(penguins: httpx.Client) -> None:
    values = [ROW[name] for name in NAMES]
    [expected] = predictions(penguins, {"dataframe_records": [ROW]})
    for body in (
        {"dataframe_split": {"data": [values, values]}},
        {"dataframe_split": {"columns": NAMES, "index": [0, 1], "data": [values, values]}},
        {"instances": [values, ROW]},
        {"inputs": [ROW, {**ROW, "beak": 1}]},
        {"inputs": {name: [value, value] for name, value in ROW.items()}},
        {"dataframe_records": [ROW, {**ROW, "noise": None}], "params": {"a": 1}},
    ):
        assert predictions(penguins, body) == [expected] * 2
    assert predictions(penguins, {"inputs": ROW}) == [expected]


def test_numbers_are_predicted_too(serve: Serve, diabetes: Bundle) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    row = [0.01] * 10
    expected = api.post("/predict", json={"features": row}).json()["prediction"]
    assert predictions(api, {"instances": [row]}) == [expected]


def told(answer: httpx.Response, status: int, code: str = "BAD_REQUEST") -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error_code"] == code
    message: str = answer.json()["message"]
    return message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "exactly one of dataframe_split, dataframe_records, instances, inputs, got none of them"),
        ({"instances": [ROW], "inputs": [ROW]}, "got instances and inputs"),
        ([ROW], "not an invocation"),
        ({"dataframe_records": []}, "dataframe_records: expected at least one row"),
        ({"dataframe_records": [ROW, {**ROW, "eggs": "two"}]}, "dataframe_records[1]['eggs']: expected an integer"),
        ({"dataframe_split": {"columns": NAMES[1:], "data": [[1] * 5]}}, "dataframe_split.data: column 'island' is"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1] * 5]}}, "dataframe_split.data[0]: expected 6 values"),
        ({"inputs": {"island": ["Dream"], "eggs": [1, 2]}}, "different numbers of rows"),
        ({"inputs": {"island": ["Dream"]}}, "inputs[0]: column 'eggs' is missing"),
        ({"instances": [[1, 2]]}, "instances[0]: expected 6 values"),
        ({"instances": [{**ROW, "eggs": [1]}]}, "not an invocation"),
        ({"instances": 3}, "not an invocation"),
    ],
)
def test_errors_have_the_form_of_mlflow(penguins: httpx.Client, body: Any, reason: str) -> None:
    assert reason in told(penguins.post("/invocations", json=body), 400)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
nested = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*NAMES, "x"]), inner),
    max_leaves=20,
)
tables = st.dictionaries(st.sampled_from(["columns", "data", "index"]), nested)
fields = {"dataframe_split": tables | nested, "dataframe_records": nested, "instances": nested, "inputs": nested}


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=fields))
def test_no_body_ends_in_a_500(penguins: httpx.Client, body: Any) -> None:
    """Python writes NaN and Infinity into JSON, like MLflow's client."""
    answer = penguins.post("/invocations", content=json.dumps(body))
    if answer.status_code != 200:
        told(answer, 400)


HUGE = b'{"instances":[[NaN,%s]]}' % (b"9" * 5000)


@pytest.mark.parametrize(
    "content", [HUGE, b"", b"{", b"NaN", b'{"instances":[[NaN]', b'{"instances":[[Infinity]]}', b"\xff"]
)
def test_a_body_that_is_not_json_is_refused(penguins: httpx.Client, content: bytes) -> None:
    told(penguins.post("/invocations", content=content), 400)


def test_media_types_and_the_rules_of_access(iris_api: httpx.Client, serve: Serve, iris: Bundle) -> None:
    body = json.dumps({"instances": [SETOSA]})
    for media_type in ("application/json; charset=utf-8", "application/json;charset=UTF-8"):
        assert iris_api.post("/invocations", content=body, headers={"content-type": media_type}).status_code == 200
    told(iris_api.post("/invocations", content=body, headers={"content-type": "text/csv"}), 415)
    key = "a-key-that-is-long-enough-to-be-one"
    api = serve(iris.pin(API_KEYS=f"page:{key}"))
    until_ready(api)
    told(api.post("/invocations", content=body), 401, "UNAUTHENTICATED")
    answer = api.post("/invocations", content=body, headers={"authorization": f"Bearer {key}"})
    assert (answer.json(), answer.headers["x-model-version"]) == ({"predictions": ["setosa"]}, "7")
    assert api.get("/ping").status_code == 200


def test_ping_waits_for_the_model(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_DIGEST="sha256:" + "0" * 64))
    told(api.get("/ping"), 503, "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xed\xa0\x80"'])
def test_a_lone_surrogate_with_a_nan_is_refused(penguins: httpx.Client, text: bytes) -> None:
    """Without NaN it is not valid JSON. With NaN, Python's parser accepts it, but no model can use it."""
    row = b'{"island":%s,"bill (mm)":%s,"sex":"male","eggs":2,"ringed":true,"seen":0}'
    for gap in (b"39.1", b"NaN"):
        told(penguins.post("/invocations", content=b'{"dataframe_records":[%s]}' % (row % (text, gap))), 400)


def test_a_column_that_appears_twice_is_refused(iris_api: httpx.Client) -> None:
    """It is not known which of the two is meant. Columns that the model does not know may appear repeatedly."""
    table = {"columns": [*COLUMNS, "other", "other"], "data": [[*SETOSA, 1, 2]]}
    assert predictions(iris_api, {"dataframe_split": table}) == ["setosa"]
    table["columns"] = [*COLUMNS, COLUMNS[2], "other"]
    answer = iris_api.post("/invocations", json={"dataframe_split": table})
    told(answer, 400)
    assert f"column {COLUMNS[2]!r} is there twice" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{}] * 1001},
        {"dataframe_split": {"data": [[]] * 1001}},
        {"instances": [[]] * 1001},
        {"inputs": {"island": [None] * 1001}},
    ],
)
def test_rows_are_counted_before_they_are_read(penguins: httpx.Client, body: Any) -> None:
    """A row of two characters becomes a row with a value for each column, so rows can take far more than their body."""
    answer = penguins.post("/invocations", json=body)
    assert answer.status_code == 413, answer.text
    assert "1001 rows, but at most 1000" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["Island", "eggs;seen"], "data": [["Dream", 2], ["Biscoe", 1]]}},
        {"dataframe_records": [{"Island": "Dream"}, {"Island": "Biscoe"}]},
        {"inputs": {"Island": ["Dream", "Biscoe"]}},
    ],
)
def test_rows_with_none_of_the_columns_are_refused_if_all_are_optional(
    serve: Serve, tmp_path: Any, body: dict[str, Any]
) -> None:
    columns = [column | {"optional": True} for column in mixed.COLUMNS]
    api = serve(Bundle(tmp_path, write_mixed(tmp_path, columns=columns, signed=columns)).pin())
    until_ready(api)
    answer = api.post("/invocations", json=body)
    assert answer.status_code == 400, answer.text
    assert "has none of the model's columns 'island', " in answer.json()["message"]
