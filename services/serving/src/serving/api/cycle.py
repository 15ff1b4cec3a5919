"""The parts of uvicorn that handle one request: flow control, and how its answer is written."""

import asyncio
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})


class Answered:
    """A placeholder for a request that has been answered, like uvicorn's own cycle after the answer."""

    response_complete = True

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class Sink:
    """The transport of an answer, whose `close` gives the caller time to read the answer."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Flow(FlowControl):
    """Does not resume reading while requests are queued, even if the protocol requests it."""

    def __init__(self, transport: asyncio.Transport, line: Sized) -> None:
        super().__init__(transport)
        self._line = line

    def resume_reading(self) -> None:
        """Resume reading, unless requests wait."""
        if self.read_paused and not self._line:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """One request and its answer. If the length of the answer is known, its head and body are written together.

    uvicorn checks each header field separately, which takes a tenth of the time of a small prediction. It also writes
    the head by itself, which takes another system call and wakes a caller that cannot do anything yet.
    """

    _head = b""

    async def send(self, message: Any) -> None:
        """Send a part of the answer. Names of header fields are in lower case."""
        if self._head:
            message = self._with_head(message)
        elif not (self.response_started or self.disconnected or self.flow.write_paused) and self._start(message):
            return
        await super().send(message)

    def _start(self, message: Any) -> bool:
        """Keep a head for the body, unless uvicorn has to check it: it has another framing, or is not valid."""
        fields = [*self.default_headers, *message["headers"]]
        named = dict(fields)
        connection = named.get(b"connection")
        if b"content-length" not in named or connection not in {None, b"close"}:
            return False
        if connection:
            self.keep_alive = False
        elif not self.keep_alive:
            fields.append((b"connection", b"close"))
        head = b"\r\n".join((*map(b": ".join, fields), b"", b""))
        # A line end anywhere else than after these fields and after the head would let the answer be split in two.
        if len(head.translate(None, _CONTROLS)) + 2 * len(fields) + 2 != len(head):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = int(named[b"content-length"])
        head = STATUS_LINE[message["status"]] + head
        if self.scope["method"] == "HEAD":
            # uvicorn writes no body for it, so the head would never leave.
            self.transport.write(head)
        else:
            self._head = head
        return True

    def _with_head(self, message: Any) -> dict[str, Any]:
        """Put the head before the first part of the body, for which uvicorn takes both."""
        head, self._head = self._head, b""
        self.expected_content_length += len(head)
        return {**message, "body": head + message.get("body", b"")}
