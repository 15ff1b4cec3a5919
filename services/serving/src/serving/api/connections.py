"""Connections that cannot hurt: uvicorn's, with bounds on what a caller may hold up and for how long.

uvicorn waits for ever for a request's head and takes one of any length. Here both are bounded, and so is the number of
connections: those beyond may ask for the process's health and metrics, so that nobody takes it for dead who finds it
crowded. And when enough requests wait already, a prediction is refused as soon as its head is there: that costs a
fraction of an answer, so what was accepted is answered as fast as ever.
"""

import asyncio
import socket
from typing import Any, ClassVar

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.admission import Admission
from serving.api.openinference import MODEL, Error
from serving.api.predict import PATH
from serving.api.problems import MEDIA_TYPE, describe
from serving.api.routes import OPEN
from serving.errors import OverloadedError
from serving.metrics import Metrics

# From the first byte of a head to its last; and from there to the last byte of the body, read by anybody or not.
_HEAD_SECONDS = 10.0
_BODY_SECONDS = 20.0
_MAX_HEAD_BYTES = 64 * 1024
# How long the kernel goes on offering an answer to somebody who does not take it.
_UNTAKEN_MILLISECONDS = 30_000
_NEVER = float("inf")
# How many connections beyond the bound may wait to say what they want, and for how long: probes say it at once.
_SPARE_CONNECTIONS = 64
_SPARE_SECONDS = 1.0
_PROBES = tuple(path.encode() for path in OPEN)

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Gate:
    """Decides which predictions are refused unread, and counts them."""

    def __init__(self, admission: Admission, metrics: Metrics, max_connections: int) -> None:
        self.admission = admission
        self.max_connections = max_connections
        self._spare: dict[GuardedProtocol, None] = {}
        self._metrics = metrics
        problem, headers = describe(OverloadedError(), "")
        error = Error(problem.detail)
        self._refusals = (
            (PATH.encode(), PATH, _answer(MEDIA_TYPE, msgspec.json.encode(problem), headers)),
            (b"/v2/models/", f"{MODEL}/infer", _answer("application/json", msgspec.json.encode(error), headers)),
        )

    def spare(self, connection: "GuardedProtocol") -> None:
        """Takes a connection beyond the bound. Where too many of these wait, the one that waited longest goes."""
        self._spare[connection] = None
        if len(self._spare) > _SPARE_CONNECTIONS:
            next(iter(self._spare)).crowded_out()

    def forget(self, connection: "GuardedProtocol") -> None:
        """Lets go of one that has said what it wants, or is gone."""
        self._spare.pop(connection, None)

    def refusal(self, method: bytes, url: bytes) -> bytes | None:
        """Gives the answer for a request that is one too many; None for one that is welcome."""
        if not self.admission.full or method != b"POST":
            return None
        for prefix, route, answer in self._refusals:
            if url.startswith(prefix):
                self._metrics.shed(route)
                return answer
        return None


class _Answered:
    """Stands for a request that has its answer, as uvicorn's own cycle does afterwards."""

    response_complete = True

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `gate` is set by `guarded`."""

    gate: ClassVar[Gate]

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._admission = self.gate.admission
        self._heads = 0
        self._head_bytes = 0
        self._in_body = False
        self._refused = False
        self._unanswered = 0
        self._deadline = _NEVER
        self._is_spare = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a connection, if only to hear what it wants when there are too many."""
        super().connection_made(transport)
        self._deadline = self.loop.time() + self.timeout_keep_alive
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNTAKEN_MILLISECONDS)
        if len(self.connections) > self.gate.max_connections:
            self._is_spare = True
            self._deadline = self.loop.time() + _SPARE_SECONDS
            self.gate.spare(self)

    # What follows runs for every request, so it calls uvicorn's methods directly, which is faster than `super()`.

    def data_received(self, data: bytes) -> None:
        """Takes bytes, and looks at the clock when they end in the middle of a request."""
        if self._admission.full and self._refuse_unparsed(data):
            return
        heads, in_body = self._heads, self._in_body
        HttpToolsProtocol.data_received(self, data)
        if self._in_body:
            if self._deadline is _NEVER:
                self._deadline = self.loop.time() + _BODY_SECONDS
        elif self._heads == heads and not in_body:
            self._note_incomplete_head(len(data))

    def on_headers_complete(self) -> None:
        """Begins to answer, or refuses to."""
        self._heads += 1
        self._head_bytes = 0
        self._in_body = True
        self._deadline = _NEVER
        if self._is_spare:
            self._answer_spare()
            return
        if self._admission.full and (self.cycle is None or self.cycle.response_complete):
            answer = self.gate.refusal(self.parser.get_method(), self.url)
            if answer is not None:
                self._refuse(answer)
                return
        HttpToolsProtocol.on_headers_complete(self)

    def on_message_complete(self) -> None:
        """Notes the end of a request."""
        self._in_body = False
        self._deadline = _NEVER
        if not self.cycle.response_complete:
            self._unanswered += 1
            self._admission.came()
            HttpToolsProtocol.on_message_complete(self)
        elif self._refused:
            self._refused = False
            HttpToolsProtocol.on_response_complete(self)

    def on_response_complete(self) -> None:
        """Notes the end of an answer, which may come before that of its request."""
        if self._unanswered:
            self._unanswered -= 1
            self._admission.answered()
        HttpToolsProtocol.on_response_complete(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._admission.left(self._unanswered)
        self._unanswered = 0
        self.gate.forget(self)
        super().connection_lost(exc)

    def crowded_out(self) -> None:
        """Hangs up on one that has not said what it wants, where there is no room for it."""
        self.gate.forget(self)
        self._hang_up(_TOO_MANY)

    def _answer_spare(self) -> None:
        """Answers a probe and hangs up; whoever wants more gets that only if there is room by now."""
        self.gate.forget(self)
        if len(self.connections) <= self.gate.max_connections:
            self._is_spare = False
        elif not self.url.startswith(_PROBES):
            if self.cycle is None:
                self.cycle = _Answered()
            self._hang_up(_TOO_MANY)
            return
        HttpToolsProtocol.on_headers_complete(self)
        if self._is_spare:
            self.cycle.keep_alive = False

    def _refuse_unparsed(self, data: bytes) -> bool:
        """Refuses a prediction that has come in one piece, if that is what this is, at the least cost."""
        if (
            self._is_spare
            or self._in_body
            or self._head_bytes
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return False
        url = data[5:512].partition(b" ")[0]
        if not _is_one_request(data):
            return False
        answer = self.gate.refusal(data[:5].rstrip(), url)
        if answer is None:
            return False
        self._unset_keepalive_if_required()
        self._deadline = _NEVER
        self.transport.write(answer)
        HttpToolsProtocol.on_response_complete(self)
        return True

    def _refuse(self, answer: bytes) -> None:
        if self.cycle is None:
            self.cycle = _Answered()
        self._refused = True
        if self.expect_100_continue:
            # Whether the body still comes is up to the caller, so what follows cannot be told apart.
            self._hang_up(answer)
        else:
            self.transport.write(answer)

    def _note_incomplete_head(self, length: int) -> None:
        if not (self._head_bytes or self._is_spare):
            self._deadline = self.loop.time() + _HEAD_SECONDS
        self._head_bytes += length
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._hang_up(_HEAD_TOO_LONG)

    def expire(self, now: float) -> None:
        """Hangs up if what is due has not come by `now`, in the loop's time."""
        if now <= self._deadline:
            return
        if self._is_spare:
            self.crowded_out()
        else:
            self._hang_up(_TIMED_OUT if self._head_bytes else b"")

    def _hang_up(self, answer: bytes) -> None:
        self._deadline = _NEVER
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def _is_one_request(data: bytes) -> bool:
    """Whether bytes are one whole request that leaves the connection open, told by a look at its head."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or len(head) > _MAX_HEAD_BYTES:
        return False
    first, _, fields = head.lower().partition(b"\r\n")
    lines = b"\r\n" + fields + b"\r\n"
    plain = b"\r\nexpect:" not in lines and b"\r\ntransfer-encoding:" not in lines
    stays_open = first.endswith(b" http/1.1") and _value(lines, b"connection") in {b"", b"keep-alive"}
    return plain and stays_open and _value(lines, b"content-length") == b"%d" % len(body)


def _value(lines: bytes, name: bytes) -> bytes:
    return lines.partition(b"\r\n%s:" % name)[2].partition(b"\r\n")[0].strip()


def guarded(bounds: Gate) -> type[GuardedProtocol]:
    """Makes the protocol class for a server."""

    class Bound(GuardedProtocol):
        gate = bounds

    return Bound


def _answer(media_type: str, body: bytes, headers: dict[str, str]) -> bytes:
    head = {"content-type": media_type, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{lines}\r\n".encode() + body
