"""Columns of all kinds over the Open Inference Protocol: one tensor each, as in the metadata, with nulls."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http

from services.serving.tests import mixed
from services.serving.tests.conftest import Bundle, running, until_ready
from services.serving.tests.mixed import ROW, write_mixed

MODEL = "/v2/models/iris-classifier"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("penguins")
    with running(Bundle(folder, write_mixed(folder)).pin()) as client:
        until_ready(client)
        yield client


def expected(rows: Any) -> Any:
    return mixed.fitted().predict_proba(rows)


def tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": data}


def one_row(**changes: Any) -> list[dict[str, Any]]:
    """Return a row with the tensors of the metadata."""
    told = {
        "island": ("BYTES", ["Torgersen"]),
        "bill (mm)": ("FP64", [39.1]),
        "sex": ("BYTES", ["male"]),
        "eggs": ("INT64", [2]),
        "ringed": ("FP64", [1]),
        "seen": ("FP64", [mixed.SEEN]),
        **changes,
    }
    return [tensor(name, *what) for name, what in told.items()]


def probabilities(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    [found] = [output for output in answer.json()["outputs"] if output["name"] == "probabilities"]
    return found["data"]


def test_metadata_and_infer_agree(api: httpx.Client) -> None:
    described = api.get(MODEL).json()["inputs"]
    assert [(each["name"], each["datatype"], each["shape"]) for each in described] == [
        (each["name"], each["datatype"], [-1, 1]) for each in one_row()
    ]
    answer = api.post("/predict", json={"features": ROW}).json()
    assert max(probabilities(api.post(f"{MODEL}/infer", json={"inputs": one_row()}))) == pytest.approx(
        answer["probability"], abs=1e-6
    )


def test_other_datatypes_mean_the_same(api: httpx.Client) -> None:
    plain = probabilities(api.post(f"{MODEL}/infer", json={"inputs": one_row()}))
    dated = one_row(seen=("BYTES", [ROW["seen"]]), ringed=("BOOL", [True]), eggs=("UINT8", [2]))
    assert probabilities(api.post(f"{MODEL}/infer", json={"inputs": dated})) == plain
    rounded = one_row(eggs=("FP32", [2.0]))
    assert probabilities(api.post(f"{MODEL}/infer", json={"inputs": rounded})) == plain


def test_nulls_in_json(api: httpx.Client) -> None:
    nulls = {"bill (mm)": None, "sex": None, "ringed": None}
    answer = api.post("/predict", json={"features": {**ROW, **nulls}}).json()
    for text in (None, ""):
        row = one_row(**{"bill (mm)": ("FP64", [None]), "sex": ("BYTES", [text]), "ringed": ("FP32", [None])})
        found = probabilities(api.post(f"{MODEL}/infer", json={"inputs": row}))
        assert max(found) == pytest.approx(answer["probability"], abs=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient(api: httpx.Client, binary: bool) -> None:
    rows = mixed.table()
    # JSON has no NaN, so only binary tensors can have one.
    rows = rows if binary else np.array([row for row in rows if row[1] == row[1] and row[4] == row[4]], dtype=object)
    client = tritonclient.http.InferenceServerClient(f"{api.base_url.host}:{api.base_url.port}")
    inputs = []
    for told, values in zip(client.get_model_metadata("iris-classifier")["inputs"], rows.T, strict=True):
        kind = {"BYTES": object, "FP64": np.float64, "INT64": np.int64}[told["datatype"]]
        made = tritonclient.http.InferInput(told["name"], [len(rows), 1], told["datatype"])
        made.set_data_from_numpy(values.astype(kind)[:, None], binary_data=binary)
        inputs.append(made)
    found = client.infer("iris-classifier", inputs)
    client.close()
    np.testing.assert_allclose(found.as_numpy("probabilities"), expected(rows), atol=1e-5)
    texts = [text.decode() if isinstance(text, bytes) else text for text in found.as_numpy("prediction")]
    assert texts == mixed.fitted().predict(rows).tolist()


def test_a_table_in_the_form_of_mlservers_client(api: httpx.Client) -> None:
    """The request that MLServer 1.7.1's PandasCodec makes from a table with a missing value in a column of numbers."""
    text, nothing = {"content_type": "str"}, None
    columns: list[tuple[str, str, Any, list[Any]]] = [
        ("island", "BYTES", text, ["Dream", "Biscoe"]),
        ("bill (mm)", "FP64", nothing, [39.1, None]),
        ("sex", "BYTES", text, ["male", ""]),
        ("eggs", "INT64", nothing, [2, 1]),
        ("ringed", "BOOL", nothing, [True, False]),
        ("seen", "BYTES", text, ["2023-11-15T08:30:00", "2023-11-16T08:30:00"]),
    ]
    inputs = [{**tensor(name, kind, data), "parameters": more} for name, kind, more, data in columns]
    body = {"id": None, "parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": None}
    answer = probabilities(api.post(f"{MODEL}/infer", json=body))
    rows = [list(row) for row in zip(*(data for *_, data in columns), strict=True)]
    plain = api.post("/predict", json={"instances": rows}).json()
    assert [max(answer[:2]), max(answer[2:])] == pytest.approx(
        [each["probability"] for each in plain["predictions"]], abs=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([tensor("features", "FP64", [1.0])], "unknown tensor 'features'; expected one tensor for each of 'island'"),
        (one_row()[1:], "the tensor 'island' is missing"),
        (one_row(island=("FP64", [1.0])), "inputs['island']: expected text (BYTES), as the column is text, in row 0"),
        (one_row(island=("BYTES", [""])), "an empty one, which means null in row 0 (column 'island')"),
        (one_row(eggs=("FP64", [None])), "inputs['eggs']: expected a whole number between"),
        (one_row(eggs=("FP64", [1.5])), "inputs['eggs']: expected an integer, got 1.5 in row 0"),
        (one_row(eggs=("INT64", [2**24 + 2])), "because the model computes in float32 and would round others in row 0"),
        (one_row(ringed=("FP64", [2.0])), "inputs['ringed']: expected true or false in row 0"),
        (one_row(seen=("FP64", [1.7e12])), "inputs['seen']: expected seconds since 1970-01-01 UTC between -62"),
        (one_row(seen=("FP64", [None])), "got null, which the column does not take, in row 0 (column 'seen')"),
        (one_row(seen=("BYTES", ["soon"])), "got a string ('soon') in row 0 (column 'seen')"),
        (one_row(sex=("BYTES", ["male", "female"])), "different numbers of rows: [1, 2]"),
        (one_row(sex=("BYTES", [1])), "inputs['sex']: its data must be a list of BYTES values"),
    ],
)
def test_tensors_that_do_not_fit_are_named(api: httpx.Client, inputs: Any, reason: str) -> None:
    answer = api.post(f"{MODEL}/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
