"""What uvicorn's connections work with for each request: what is asked of the socket, and how answers are written."""

import asyncio
from collections.abc import Callable, Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})


class Answered:
    """Stands for a request that has its answer, as uvicorn's own cycle does afterwards."""

    response_complete = True

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class Sink:
    """What a request's answer is written to: the transport, except that `close` lets the caller read the answer."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Flow(FlowControl):
    """Stops reading while requests are queued, even if the protocol asks to resume."""

    def __init__(self, transport: asyncio.Transport, line: Sized) -> None:
        super().__init__(transport)
        self._line = line

    def resume_reading(self) -> None:
        """Reads on, unless requests wait."""
        if self.read_paused and not self._line:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """One request and its answer. The head of an answer of known length is written as one.

    uvicorn looks at each field by itself, which costs a tenth of a small prediction.
    """

    async def send(self, message: Any) -> None:
        """Sends a part of the answer; names of header fields come in small letters."""
        if self.response_started or self.disconnected or self.flow.write_paused or not self._start(message):
            await super().send(message)

    def _start(self, message: Any) -> bool:
        """Writes a head, unless it is one that uvicorn has to look at: with another framing, or something wrong."""
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
        # Whatever ends a line beside the ends of these fields and of the head would be somebody else's answer.
        if len(head.translate(None, _CONTROLS)) + 2 * len(fields) + 2 != len(head):
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = int(named[b"content-length"])
        self.transport.write(STATUS_LINE[message["status"]] + head)
        return True
