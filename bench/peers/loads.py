"""The loads to send, and the requests for each server in every form that it supports."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
from sklearn.datasets import load_iris

from bench.targets import COLUMNS, ROW

BATCH_ROWS = 1000
RATE_CONNECTIONS = 16

Kind = Literal[
    "row", "batch", "v2-row", "v2-batch", "binary-row", "binary-batch", "arrow-batch", "invocations-row",
    "grpc-row", "grpc-batch",
]  # fmt: skip
"""A single row or a batch: in the server's own JSON, in V2 JSON, in V2 with binary tensors, as an Arrow table, in the
form of MLflow's server, or in V2 over gRPC."""


class Request(msgspec.Struct, frozen=True):
    """One POST request. Or a gRPC call: then `path` is the method, and `body` the encoded message."""

    path: str
    body: bytes
    headers: dict[str, str] = msgspec.field(default_factory=dict)


Requests = Mapping[Kind, Request]


class Plan(msgspec.Struct, frozen=True):
    """One load: `kind` over `connections`, as fast as answers come, or at `rate` requests/s."""

    kind: Kind
    connections: int
    rate: int = 0

    @property
    def is_call(self) -> bool:
        """Whether it goes over gRPC."""
        return self.kind.startswith("grpc-")

    @property
    def key(self) -> str:
        """The key of its results."""
        return f"{self.kind}@{self.rate}/s" if self.rate else f"{self.kind}/{self.connections}"


SATURATING = (
    Plan("row", 1),
    Plan("row", 16),
    Plan("row", 64),
    Plan("v2-row", 64),
    Plan("binary-row", 64),
    Plan("batch", 16),
    Plan("v2-batch", 16),
    Plan("binary-batch", 16),
    Plan("arrow-batch", 16),
)


def at_rates(rates: Sequence[int]) -> tuple[Plan, ...]:
    """Return the loads of single rows at fixed rates in requests/s."""
    return tuple(Plan("row", RATE_CONNECTIONS, rate) for rate in sorted(rates))


def batch() -> list[list[float]]:
    """Return the rows of iris, repeated up to `BATCH_ROWS` rows."""
    rows = load_iris().data
    return np.resize(rows, (BATCH_ROWS, rows.shape[1])).tolist()  # type: ignore[no-any-return]  # scikit-learn is untyped


def in_json(row: tuple[str, object], many: tuple[str, object] | None = None) -> dict[Kind, Request]:
    """Return requests in a server's own JSON, from their paths and contents. Without `many` there is no batch."""
    forms: dict[Kind, tuple[str, object]] = {"row": row, **({"batch": many} if many else {})}
    return {kind: Request(path, json.dumps(content).encode()) for kind, (path, content) in forms.items()}


def v2_json(path: str) -> dict[Kind, Request]:
    """Return requests of the Open Inference Protocol with tensors as JSON."""
    return {"v2-row": _v2_json(path, [ROW]), "v2-batch": _v2_json(path, batch())}


def v2_binary(path: str) -> dict[Kind, Request]:
    """Return requests of the Open Inference Protocol with binary tensors, also in the answers."""
    return {"binary-row": _v2_binary(path, [ROW]), "binary-batch": _v2_binary(path, batch())}


def arrow(path: str) -> dict[Kind, Request]:
    """Return a batch as an Arrow IPC stream. The answer is one too."""
    table = pa.table(dict(zip(COLUMNS, np.array(batch()).T, strict=True)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    return {"arrow-batch": Request(path, sink.getvalue().to_pybytes(), kind)}


def dataframe(rows: Sequence[Sequence[float]]) -> dict[str, object]:
    """Return the content of a request to MLflow's server."""
    return {"dataframe_split": {"columns": COLUMNS, "data": rows}}


def _tensor(rows: Sequence[Sequence[float]]) -> dict[str, object]:
    return {"name": "features", "shape": [len(rows), len(rows[0])], "datatype": "FP64"}


def _v2_json(path: str, rows: Sequence[Sequence[float]]) -> Request:
    values = [value for row in rows for value in row]
    return Request(path, json.dumps({"inputs": [{**_tensor(rows), "data": values}]}).encode())


def _v2_binary(path: str, rows: Sequence[Sequence[float]]) -> Request:
    values = np.array(rows, "<f8").tobytes()
    tensor = {**_tensor(rows), "parameters": {"binary_data_size": len(values)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return Request(path, head + values, {"Content-Type": "application/octet-stream", **length})
