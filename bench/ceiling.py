"""The ceiling: what uvicorn alone can do, if it reads the body, computes nothing and sends a constant answer."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_BODY = b'{"prediction":"setosa","probability":0.9812,"model_version":"1","latency_ms":0.0412}'
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())],
}
_END = {"type": "http.response.body", "body": _BODY}

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every HTTP request with the same JSON, after reading its body."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send(_START)
    await send(_END)
