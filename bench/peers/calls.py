"""The Open Inference Protocol over gRPC: this project and the other servers that support it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from bench.peers import subjects
from bench.peers.loads import Plan, Request, Requests, batch
from bench.peers.subjects import OURS, Subject
from bench.targets import ROW
from serving.rpc import schema

NAME = "grpc"
MODEL = "logistic-regression"
METHOD = f"{schema.SERVICE}.ModelInfer"
PLANS = (Plan("grpc-row", 1), Plan("grpc-row", 16), Plan("grpc-row", 64), Plan("grpc-batch", 16))


def everything() -> list[Subject]:
    """Return the servers to compare, this project first."""
    return [
        Subject(OURS, "this project", "serving", _requests, subjects.ours({})),
        Subject("mlserver", "MLServer", "mlserver", _requests_of_iris, subjects.mlserver),
        Subject("kserve", "KServe", "kserve", _requests_of_iris, subjects.kserve),
    ]


def write_descriptors(file: Path) -> Path:
    """Write the protocol's messages and methods into a file for load generators."""
    described = FileDescriptorSet()
    schema.POOL.FindServiceByName(schema.SERVICE).file.CopyToProto(described.file.add())
    file.write_bytes(described.SerializeToString())
    return file


def _requests(model: str) -> Requests:
    return {"grpc-row": _request(model, [ROW]), "grpc-batch": _request(model, batch())}


def _requests_of_iris(_model: str) -> Requests:
    """Return requests for the model `iris`: the other servers use this name for any model."""
    return _requests("iris")


def _request(model: str, rows: Sequence[Sequence[float]]) -> Request:
    message: Any = schema.message("ModelInferRequest")(model_name=model)
    message.inputs.add(name="features", datatype="FP64", shape=[len(rows), len(rows[0])])
    message.raw_input_contents.append(np.array(rows, "<f8").tobytes())
    return Request(METHOD, message.SerializeToString())
