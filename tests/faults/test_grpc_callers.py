"""Callers of gRPC that misbehave delay only themselves, and cost a bounded amount of memory."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from embedded.processes import LOOPBACK, free_port
from services.serving.tests.bundles import SETOSA
from tests.faults.conftest import Note, others_are_served, target
from tests.faults.matrix import fault
from tests.integration.serving_fixtures import wait_for
from tests.support.http2 import PartialCaller

INFER = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS, CALLS = 16, 25
WAITING = {"MAX_WAITING_REQUESTS": "32"}
LONGEST = bytes(1024 * 1024)
# 32 messages, a window of 64 KB for each call that waits, and what the process itself needs.
MOST_MB = 60


def answered(address: str) -> bool:
    """Return whether a usual call is answered."""
    request = service_pb2.ModelInferRequest(model_name="iris-classifier")
    tensor = request.inputs.add(name="features", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(SETOSA)
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(
            INFER,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        try:
            return bool(call(request, timeout=20).outputs)
        except grpc.RpcError:
            return False


@fault(
    f"{CONNECTIONS * CALLS} calls over gRPC with a message of 1 MB, of which one byte never comes",
    f"each is ended; other calls are answered again; at most {MOST_MB} MB more",
)
@pytest.mark.parametrize(
    "method",
    [INFER, "/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"],
    ids=["infer", "health", "reflection"],
)
def test_many_long_messages(pinned: dict[str, str], tmp_path: Path, note: Note, method: str) -> None:
    port = free_port()
    with ExitStack() as stack:
        started = stack.enter_context(target(tmp_path, {**pinned, **WAITING, "GRPC_PORT": str(port)}))
        assert answered(f"{LOOPBACK}:{port}")
        before = most = started.resident_mb()
        callers = [stack.enter_context(PartialCaller(LOOPBACK, port)) for _ in range(CONNECTIONS)]
        with others_are_served(started, note):
            calls = [caller.call(method, LONGEST) for caller in callers for _ in range(CALLS)]
            while not all(call.ended for call in calls):
                for caller in callers:
                    caller.exchange()
                most = max(most, started.resident_mb())
                assert most - before < MOST_MB
                assert not any(caller.closed for caller in callers)
            wait_for(lambda: answered(f"{LOOPBACK}:{port}"))
        note("MB more", round(most - before))


@fault("a call over gRPC without a message", "`INVALID_ARGUMENT`")
def test_no_message(pinned: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with target(tmp_path, {**pinned, "GRPC_PORT": str(port)}), grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        call: Any = channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@fault("a caller of gRPC that disconnects in the middle of a message", "nothing in the log")
def test_gone_callers(pinned: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with target(tmp_path, {**pinned, "GRPC_PORT": str(port)}) as started:
        for _ in range(20):
            with PartialCaller(LOOPBACK, port) as caller:
                caller.call(INFER, LONGEST)
                caller.exchange()
        wait_for(lambda: started.count("serving_requests_in_flight") == 1)
        assert answered(f"{LOOPBACK}:{port}")
        log = started.server.log.read_text()
    assert '"level":"error"' not in log
