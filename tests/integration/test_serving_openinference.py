"""Stock clients of the Open Inference Protocol work unchanged with the real process.

Triton's client is the real one. KServe's client needs Kubernetes' client, FastAPI and pandas. It is used if
`make bench-peers` has installed it. Otherwise, a test sends the same requests as it does.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from embedded.processes import NOBODY, Server
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from tests.integration.serving_fixtures import Model, served

NAME = "iris-classifier"
ROWS = np.array([SETOSA, [6.7, 3.0, 5.2, 2.3], [5.9, 2.8, 4.3, 1.3]])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pinned")
    settings = {
        "MODEL_VERSION": "7",
        "MODEL_URI": (folder / "model").as_uri(),
        "MODEL_DIGEST": write_bundle(folder / "model"),
        "MLFLOW_TRACKING_URI": NOBODY,
    }
    with served(folder, settings) as (running, _):
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as connected:
        yield connected


def features(rows: Any = ROWS, datatype: str = "FP64", *, binary: bool = True) -> Any:
    tensor = triton.InferInput("features", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return tensor


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "7")
    assert not client.is_model_ready(NAME, "8")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    for version in ("", "7"):
        metadata = client.get_model_metadata(NAME, version)
        assert (metadata["name"], metadata["versions"]) == (NAME, ["7"])
        assert metadata["inputs"][0]["shape"] == [-1, 4]
        assert {output["name"]: output["datatype"] for output in metadata["outputs"]} == {
            "prediction": "BYTES",
            "probabilities": "FP32",
        }


@pytest.mark.parametrize("sent_as_bytes", [True, False])
@pytest.mark.parametrize("wanted_as_bytes", [True, False, None])
@pytest.mark.parametrize("version", ["", "7"])
def test_infer(client: Any, version: str, sent_as_bytes: bool, wanted_as_bytes: bool | None) -> None:
    outputs = None
    if wanted_as_bytes is not None:
        outputs = [triton.InferRequestedOutput(name, wanted_as_bytes) for name in ("probabilities", "prediction")]
    answer = client.infer(
        NAME,
        [features(binary=sent_as_bytes)],
        model_version=version,
        outputs=outputs,
        request_id="mine",
        priority=1,
        timeout=1000,
        parameters={"colour": "blue"},
    )
    found = answer.get_response()
    assert (found["id"], found["model_name"], found["model_version"]) == ("mine", NAME, "7")
    probabilities, labels = answer.as_numpy("probabilities"), answer.as_numpy("prediction")
    assert probabilities.shape == (3, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    text = [label.decode() if isinstance(label, bytes) else label for label in labels]
    assert text == [CLASSES[index] for index in probabilities.argmax(axis=1)]
    assert text[:2] == ["setosa", "virginica"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_of_numbers(client: Any, dtype: str, binary: bool) -> None:
    rows = np.array([[5, 3, 1, 0]], dtype=dtype)
    datatype = np_to_triton_dtype(rows.dtype)
    if datatype == "FP16" and not binary:
        pytest.skip("the client itself sends FP16 only as bytes")
    found = client.infer(NAME, [features(rows, datatype, binary=binary)]).as_numpy("probabilities")
    expected = client.infer(NAME, [features(rows.astype("f8"))]).as_numpy("probabilities")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_columns_one_by_one(client: Any) -> None:
    inputs = []
    for index, name in enumerate(COLUMNS):
        tensor = triton.InferInput(name, [len(ROWS), 1], "FP64")
        tensor.set_data_from_numpy(ROWS[:, index : index + 1], binary_data=index % 2 == 0)
        inputs.append(tensor)
    whole = client.infer(NAME, [features()]).as_numpy("probabilities")
    np.testing.assert_array_equal(client.infer(NAME, inputs).as_numpy("probabilities"), whole)


def test_async_infer(client: Any) -> None:
    rows = [features(ROWS[index : index + 1]) for index in range(3)]
    pending = [client.async_infer(NAME, [rows[index % 3]], request_id=str(index)) for index in range(40)]
    for index, request in enumerate(pending):
        answer = request.get_result(timeout=30)
        assert answer.get_response()["id"] == str(index)
        expected = [b"setosa", b"virginica", b"versicolor"][index % 3]
        assert answer.as_numpy("prediction").tolist() == [expected]


@pytest.mark.parametrize(
    ("call", "status", "reason"),
    [
        (lambda c: c.infer("other", [features()]), "404", "only 'iris-classifier'"),
        (lambda c: c.infer(NAME, [features()], model_version="8"), "404", "pinned to version 7"),
        (lambda c: c.infer(NAME, [features(ROWS[:, :3])]), "400", "expected shape [rows, 4], got [3, 3]"),
        (lambda c: c.infer(NAME, [features(ROWS * np.nan)]), "400", "expected a number between"),
        (lambda c: c.infer(NAME, [features(ROWS.astype(bool), "BOOL")]), "400", "not true or false"),
        (lambda c: c.infer(NAME, [features(np.full((1, 4), b"x", dtype=object), "BYTES")]), "400", "got a string"),
        (lambda c: c.infer(NAME, [features()], outputs=[triton.InferRequestedOutput("x")]), "400", "no such output"),
        (
            lambda c: c.infer(NAME, [features()], outputs=[triton.InferRequestedOutput("prediction", class_count=2)]),
            "400",
            "extension behind the parameter classification",
        ),
        (lambda c: c.infer(NAME, [features(np.ones((2000, 4)))]), "413", "at most 1000"),
        (lambda c: c.get_model_metadata("other"), "404", "only 'iris-classifier'"),
        (lambda c: c.get_model_repository_index(), "404", "does not exist"),
    ],
)
def test_errors_reach_the_client_in_words(client: Any, call: Any, status: str, reason: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        call(client)
    assert caught.value.status() == status
    assert reason in caught.value.message()


def test_versions_by_path(mlflow_proxied: Server, tmp_path: Path) -> None:
    model = Model(mlflow_proxied.url, tmp_path)
    first = model.register(alias="production", tags={"release": "v1.0.0"})
    second = model.register(alias="candidate", strength=0.1)
    with (
        served(tmp_path, model.settings()) as (server, _),
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        by_name = {"": "v1.0.0", second.number: second.number, "candidate": second.number, "v1.0.0": "v1.0.0"}
        for name, expected in by_name.items():
            answer = client.infer(model.name, [features()], model_version=name)
            assert answer.get_response()["model_version"] == expected
        assert client.get_model_metadata(model.name)["versions"] == [first.number, second.number]
        assert not client.is_model_ready(model.name, "99")


def test_kserves_own_client(server: Server) -> None:
    python = next(Path(".cache/peers").glob("kserve-*/bin/python"), None)
    if python is None:
        pytest.skip("kserve is not there: `make bench-peers` installs it")
    script = Path(__file__).with_name("kserve_client.py")
    command = [str(python), str(script), server.url, NAME, json.dumps(ROWS.tolist())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    expected = triton_predictions(server)
    assert json.loads(done.stdout) == [True, True, True, ["mine", expected], ["mine", expected]]


def triton_predictions(server: Server) -> list[str]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        found = client.infer(NAME, [features()]).as_numpy("prediction")
    return [value.decode() for value in found.tolist()]


def test_kserves_requests(server: Server) -> None:
    """The requests of kserve.InferenceRESTClient 0.15 with RESTConfig(protocol="v2")."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/v2/health/live").json().get("live") is True
        assert client.get("/v2/health/ready").json().get("ready") is True
        assert client.get(f"/v2/models/{NAME}/ready").json().get("ready") is True
        head = {
            "id": "d3b15cad",
            "model_name": NAME,
            "inputs": [
                {
                    "name": "features",
                    "shape": list(ROWS.shape),
                    "datatype": "FP64",
                    "parameters": {"binary_data_size": ROWS.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
        for binary in (True, False):
            if binary:
                content = json.dumps(head).encode()
                headers = {
                    "inference-header-content-length": str(len(content)),
                    "content-type": "application/octet-stream",
                }
                response = client.post(f"/v2/models/{NAME}/infer", content=content + ROWS.tobytes(), headers=headers)
            else:
                tensor = {"name": "features", "shape": [3, 4], "datatype": "FP64", "data": ROWS.tolist()}
                body = {"id": "d3b15cad", "model_name": NAME, "inputs": [tensor]}
                response = client.post(f"/v2/models/{NAME}/infer", content=json.dumps(body).encode())
            assert response.is_success, response.text
            length = int(response.headers.get("inference-header-content-length", len(response.content)))
            answer = json.loads(response.content[:length])
            assert (answer["id"], answer["model_name"], answer["model_version"]) == ("d3b15cad", NAME, "7")
            sizes = [output.get("parameters", {}).get("binary_data_size") for output in answer["outputs"]]
            assert len(response.content) == length + sum(size or 0 for size in sizes)
        refused = client.post(f"/v2/models/{NAME}/infer", content=b"{}")
        assert (refused.headers["content-type"], refused.status_code) == ("application/json", 400)
        assert "error" in refused.json()
