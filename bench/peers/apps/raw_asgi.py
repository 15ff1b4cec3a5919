"""The upper limit for this project: raw ASGI, msgspec and ONNX Runtime, and nothing else.

No framework, no metrics, no bounds, no validation except types: the shortest code that answers like /predict.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in the service

import onnxruntime

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Question(msgspec.Struct):
    features: list[float] | None = None
    instances: list[list[float]] | None = None


class Prediction(msgspec.Struct):
    prediction: str
    probability: float


class Predictions(msgspec.Struct):
    predictions: list[Prediction]


_classes: list[str] = os.environ["PEER_CLASSES"].split(",")
_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = _options.inter_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], _options, providers=["CPUExecutionProvider"])
_decoder = msgspec.json.Decoder(Question)
_encoder = msgspec.json.Encoder()


def _answer(body: bytes) -> bytes:
    question = _decoder.decode(body)
    instances = [question.features or []] if question.instances is None else question.instances
    rows = np.array(instances, np.float32)
    probabilities = _session.run(["probabilities"], {"features": rows})[0]
    best = probabilities.argmax(axis=1).tolist()
    found = [Prediction(_classes[i], float(row[i])) for i, row in zip(best, probabilities, strict=True)]
    return _encoder.encode(found[0] if question.instances is None else Predictions(found))


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer predictions at any path. GET is for the probe."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    answer = _answer(body) if scope["method"] == "POST" else b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
