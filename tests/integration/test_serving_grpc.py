"""Stock gRPC clients of the Open Inference Protocol work unchanged with the real process."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from embedded.processes import LOOPBACK, NOBODY, Server, free_port
from services.serving.tests.bundles import CLASSES, COLUMNS, SETOSA, write_bundle
from services.serving.tests.mixed import ROW, write_mixed
from tests.integration.serving_fixtures import served, wait_for

NAME = "iris-classifier"
ROWS = np.array([SETOSA, [6.7, 3.0, 5.2, 2.3], [5.9, 2.8, 4.3, 1.3]])
KEY = "a-key-of-these-tests-only"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with API keys, and its address for gRPC."""
    folder, port = tmp_path_factory.mktemp("grpc"), free_port()
    settings = {
        "MODEL_VERSION": "7",
        "MODEL_URI": (folder / "model").as_uri(),
        "MODEL_DIGEST": write_bundle(folder / "model"),
        "MODEL_RELEASE": "v1.2.0",
        "MLFLOW_TRACKING_URI": NOBODY,
        "GRPC_PORT": str(port),
        "API_KEYS": f"tests:{KEY}",
    }
    with served(folder, settings) as (server, _):
        yield server, f"{LOOPBACK}:{port}"


@pytest.fixture
def address(running: tuple[Server, str]) -> str:
    return running[1]


class Client(triton.InferenceServerClient):  # type: ignore[misc]  # it has no types
    """Triton's client, with the key on every call."""

    def infer(self, name: str, inputs: Any, **more: Any) -> Any:
        return super().infer(name, inputs, headers={"authorization": f"Bearer {KEY}"}, **more)


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as connected:
        yield connected


def features(rows: Any = ROWS, datatype: str = "FP64", name: str = "features") -> Any:
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    return tensor


def test_health_and_metadata(client: Client) -> None:
    key = {"x-api-key": KEY}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME, headers=key)
    assert client.is_model_ready(NAME, "7", headers=key)
    assert not client.is_model_ready(NAME, "8", headers=key)
    assert not client.is_model_ready("other", headers=key)
    assert client.get_server_metadata(headers=key).name == "serving"
    told = client.get_model_metadata(NAME, headers=key)
    assert (told.name, list(told.versions), told.platform) == (NAME, ["7"], "onnxruntime_onnx")
    assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [("features", "FP64", [-1, 4])]


def over_http(running: tuple[Server, str], rows: Any) -> list[dict[str, Any]]:
    headers = {"x-api-key": KEY}
    answer = httpx.post(
        f"{running[0].url}/predict", json={"instances": rows.tolist()}, headers=headers, trust_env=False
    )
    predictions: list[dict[str, Any]] = answer.raise_for_status().json()["predictions"]
    return predictions


@pytest.mark.parametrize(("datatype", "dtype"), [("FP64", np.float64), ("FP32", np.float32)])
def test_rows_are_answered_as_over_http(
    running: tuple[Server, str], client: Client, datatype: str, dtype: type
) -> None:
    answer = client.infer(NAME, [features(ROWS.astype(dtype), datatype)], request_id="mine")
    expected = over_http(running, ROWS)
    assert answer.get_response().id == "mine"
    assert answer.get_response().model_version == "v1.2.0"
    assert [label.decode() for label in answer.as_numpy("prediction")] == [each["prediction"] for each in expected]
    probabilities = answer.as_numpy("probabilities")
    assert probabilities.shape == (3, len(CLASSES))
    np.testing.assert_allclose(probabilities.max(axis=1), [each["probability"] for each in expected], atol=2e-6)


def test_single_outputs_and_one_tensor_a_column(client: Client) -> None:
    columns = [features(ROWS[:, index : index + 1], name=name) for index, name in enumerate(COLUMNS)]
    answer = client.infer(NAME, columns, outputs=[triton.InferRequestedOutput("prediction")])
    assert answer.as_numpy("prediction").shape == (3,)
    assert answer.as_numpy("probabilities") is None


def plain(**more: Any) -> Any:
    """Return a request with typed contents, as clients generated from the protocol's file send it."""
    request = service_pb2.ModelInferRequest(model_name=NAME)
    tensor = request.inputs.add(name="features", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(SETOSA)
    for name, value in more.items():
        if name == "shape":
            tensor.shape[:] = value
        else:
            setattr(tensor, name, value)
    return request


def ask(address: str, request: Any, *metadata: tuple[str, str]) -> Any:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        return call(request, metadata=(("x-api-key", KEY), *metadata), timeout=10)


def test_typed_contents_are_answered_in_kind(address: str) -> None:
    answer = ask(address, plain())
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.bytes_contents) == [CLASSES[0].encode()]
    assert len(answer.outputs[1].contents.fp32_contents) == len(CLASSES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [2, 4]}, "takes 8 values, but its data holds 4"),
        ({"shape": [0, 2**62]}, "sizes from 0 to 2147483647"),
        ({"shape": [1, 2, 2]}, "one or two sizes"),
        ({"datatype": "FP99"}, "unknown datatype 'FP99'"),
        ({"datatype": "FP16"}, "only be sent in raw_input_contents"),
        ({"datatype": "INT32"}, "belong in int_contents, not in fp64_contents"),
        ({"name": "other"}, "unknown tensor 'other'"),
    ],
)
def test_invalid_requests_are_refused_with_a_reason(address: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(address, plain(**change))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in (caught.value.details() or "")


def test_other_refusals_have_the_codes_that_clients_expect(address: str, client: Client) -> None:
    for request, code in (
        (service_pb2.ModelInferRequest(model_name=NAME), grpc.StatusCode.INVALID_ARGUMENT),
        (service_pb2.ModelInferRequest(model_name="other", inputs=plain().inputs), grpc.StatusCode.NOT_FOUND),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            ask(address, request)
        assert caught.value.code() is code
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        client.get_server_metadata()
    rows = np.zeros((300_000, 4))
    with pytest.raises(InferenceServerException, match="RESOURCE_EXHAUSTED"):
        client.infer(NAME, [features(rows)])
    with pytest.raises(InferenceServerException, match="at most 1000 are answered at once"):
        client.infer(NAME, [features(np.tile(SETOSA, (2000, 1)))])
    assert client.infer(NAME, [features()]).as_numpy("prediction").shape == (3,)


@pytest.mark.parametrize("method", ["inference.GRPCInferenceService/ModelInfer", "grpc.health.v1.Health/Check"])
def test_bytes_that_are_no_message_are_the_callers_mistake(
    running: tuple[Server, str], address: str, method: str
) -> None:
    with grpc.insecure_channel(address) as channel:
        raw: Any = channel.unary_unary(f"/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            raw(b"no message", metadata=(("x-api-key", KEY),), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "protobuf" in (caught.value.details() or "")
    assert 'status="500"' not in httpx.get(f"{running[0].url}/metrics", trust_env=False).text
    assert "Traceback" not in running[0].log.read_text()


def test_each_line_of_the_log_is_json(running: tuple[Server, str], client: Client) -> None:
    client.infer(NAME, [features()])
    lines = running[0].log.read_text().splitlines()
    assert lines
    for line in lines:
        json.loads(line)


def test_calls_are_counted(running: tuple[Server, str], client: Client) -> None:
    client.infer(NAME, [features()])
    text = httpx.get(f"{running[0].url}/metrics", trust_env=False).text
    route = "/v2/models/{model_name}/infer"
    assert f'serving_requests_total{{method="gRPC",route="{route}",status="200"}}' in text


def test_reflection_and_health_list_the_services(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(database.get_services())
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert [method.name for method in file.service[0].method][-1] == "ModelInfer"
        # gRPC's service follows the state of the process a moment later.
        services = ("", "inference.GRPCInferenceService")
        serving = health_pb2.HealthCheckResponse.SERVING
        wait_for(lambda: all(health(channel, service) == serving for service in services), seconds=10)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


def health(channel: grpc.Channel, service: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    status: int = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
    return status


def test_text_gaps_and_numbers_are_one_tensor_for_each_column(tmp_path: Any) -> None:
    port = free_port()
    settings = {
        "MODEL_VERSION": "7",
        "MODEL_URI": (tmp_path / "model").as_uri(),
        "MODEL_DIGEST": write_mixed(tmp_path / "model"),
        "MLFLOW_TRACKING_URI": NOBODY,
        "GRPC_PORT": str(port),
    }
    with served(tmp_path, settings) as (server, http), triton.InferenceServerClient(f"{LOOPBACK}:{port}") as asked:
        expected = http.post("/predict", json={"instances": [ROW]}).raise_for_status().json()["predictions"]
        metadata = asked.get_model_metadata(NAME)
        inputs = []
        for tensor in metadata.inputs:
            # Dates are sent as text.
            datatype = "BYTES" if isinstance(ROW[tensor.name], str) else tensor.datatype
            made = triton.InferInput(tensor.name, [1, 1], datatype)
            made.set_data_from_numpy(np.array([[ROW[tensor.name]]], dtype=triton_to_np_dtype(datatype)))
            inputs.append(made)
        answer = asked.infer(NAME, inputs)
        assert answer.as_numpy("prediction")[0].decode() == expected[0]["prediction"]
        # A process that is told to stop first reports that it is not ready, and still answers.
        with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            server.terminate()
            wait_for(lambda: health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING, seconds=10)


def test_the_messages_are_those_of_the_protocol() -> None:
    """Their fields equal those of Triton's client, except for Triton's own extensions."""
    script = (
        "from serving.rpc.schema import POOL, _MESSAGES\n"
        "for name in sorted(_MESSAGES):\n"
        "    for field in POOL.FindMessageTypeByName('inference.' + name).fields:\n"
        "        print(name, field.number, field.name, field.type, field.is_repeated)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ours = done.stdout.splitlines()
    theirs = []
    for name in sorted({line.split()[0] for line in ours}):
        found = service_pb2.DESCRIPTOR.pool.FindMessageTypeByName(f"inference.{name}")
        theirs += [
            f"{name} {field.number} {field.name} {field.type} {field.is_repeated}"
            for field in found.fields
            # Without Triton's extensions, which the protocol does not have.
            if f"{name} {field.number}" in {" ".join(line.split()[:2]) for line in ours}
        ]
    assert ours == theirs


def test_a_port_in_use_is_reported(tmp_path: Any) -> None:
    port = free_port()
    environment = {"MODEL_DIR": str(tmp_path), "PORT": str(free_port()), "GRPC_PORT": str(port), "PATH": "/usr/bin"}
    with socket.create_server((LOOPBACK, port)):
        done = subprocess.run(
            [sys.executable, "-m", "serving"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode != 0
    assert "GRPC_PORT" in done.stdout + done.stderr
