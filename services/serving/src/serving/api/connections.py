"""Connection limits and timeouts: uvicorn's connections, with bounds on time, memory and number.

uvicorn waits for a request's head without a timeout, accepts a head of any length, keeps all trailers, and continues to
read when the caller does not read its answers. Here all of this has bounds, and so has the number of connections.
Connections beyond that number may only request health and metrics, so that probes do not report a busy process as dead.
When enough requests wait already, a prediction is refused as soon as its head has arrived. A refusal costs a fraction
of an answer, so accepted requests stay as fast as before.

A request competes for the processor from the time that it has arrived completely until it is answered. Each connection
has at most one such request: the requests behind it on the same connection wait for it alone.
"""

import asyncio
import socket
import urllib.parse
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from serving.api.cycle import Answered, Cycle, Flow, Sink
from serving.api.gate import Gate
from serving.api.leaving import BODY_SECONDS, HEAD_SECONDS, NEVER, SPARE_SECONDS, UNTAKEN_SECONDS, Leaving
from serving.api.wire import (
    BAD_REQUEST,
    HEAD_TOO_LONG,
    MAX_HEAD_BYTES,
    head_without_upgrade,
    is_one_request,
)

# The most bytes of chunk extensions and trailers between two bytes of a body, or after its last byte.
_MAX_FRAMING_BYTES = 64 * 1024
# The most requests that may wait behind an unanswered request on the same connection.
_MAX_PIPELINED = 256


class GuardedProtocol(Leaving):
    """One connection. `guarded` sets `gate`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._admission = self.gate.admission
        self._heads = self._framing_bytes = 0
        self._refused = self._upgrading = False
        # Whether the current request competes, and whether it would compete if its caller read the answer.
        self._competes = self._untaken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept a connection. If there are too many, wait only to see whether it is a probe."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._answers_to: Any = Sink(transport, self.part)
        self._deadline = self.loop.time() + self.timeout_keep_alive
        connection = transport.get_extra_info("socket")
        # Callers over a Unix socket have no address, and Unix sockets do not have this option.
        if self.client is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNTAKEN_SECONDS * 1000))
        if len(self.connections) > self.gate.max_connections:
            self.is_spare = True
            self._deadline = self.loop.time() + SPARE_SECONDS
            self.gate.spare(self)

    # --- what the parser finds ----------------------------------------------------------------------------------------
    # This runs for every request. Where another function call would be noticeable, it repeats uvicorn's code.

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, and set a deadline if they end in the middle of a request."""
        if self._deaf or (self._admission.full and self._refuse_unparsed(data)):
            return
        heads, in_body = self._heads, self._in_body
        self._framing_bytes += len(data)
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._parse_without_upgrade(data[pause.args[0] :])
        except httptools.HttpParserError:
            self._hang_up(BAD_REQUEST)
        if self._in_body:
            if self._deadline is NEVER:
                self._deadline = self.loop.time() + BODY_SECONDS
            if self._framing_bytes > _MAX_FRAMING_BYTES:
                self._hang_up(HEAD_TOO_LONG)
        elif self._heads == heads and not in_body:
            self._note_incomplete_head(len(data))

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse what follows a head that offers another protocol. The answer is in HTTP/1.1 (RFC 9110, section 7.8).

        The parser would treat what follows as that other protocol, so it gets the head again, without the offer.
        CONNECT is such an offer by its method: it requests a tunnel, which this server does not provide.
        """
        while not self._deaf:
            if self.scope["method"] == "CONNECT":
                self._hang_up(BAD_REQUEST)
                return
            self._upgrading = False
            data = head_without_upgrade(self.scope["method"], self.url, self.headers) + rest
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as pause:
                rest = data[pause.args[0] :]
            except httptools.HttpParserError:
                self._hang_up(BAD_REQUEST)
                return
            else:
                return

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start to answer the request, or refuse it."""
        method = self.parser.get_method()
        self.scope["method"] = method.decode("ascii")
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        if self._deaf:
            return
        self._heads += 1
        self._head_bytes = self._framing_bytes = 0
        self._in_body = True
        self._deadline = NEVER
        self.expect_100_continue = dict(self.headers).get(b"expect", b"").lower() == b"100-continue"
        # Trailers, which follow the body, do not belong to the request's head, and nothing uses them.
        self.headers = []
        if self.is_spare and not self._room():
            self._answer_spare()
            return
        waits = self._active is not None or self.pipeline or self.flow.write_paused
        if self._admission.full and not waits and (answer := self.gate.refusal(method, self.url)) is not None:
            self._refuse(answer)
            return
        cycle = self.cycle = self._cycle()
        if not waits:
            self._active = cycle
            self._start_asgi_task(cycle, self.app)
        elif len(self.pipeline) < _MAX_PIPELINED:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self.pipeline[0][0].keep_alive = False
            self._deaf = True

    def _cycle(self) -> Cycle:
        """Create the cycle that answers the request whose head has arrived."""
        version = self.parser.get_http_version()
        if version != "1.1":
            self.scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        return Cycle(
            scope=self.scope,
            transport=self._answers_to,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self.is_spare,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        """Keep a piece of a body, unless it is not needed any more."""
        self._framing_bytes = 0
        if self._deaf or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Mark the end of a request."""
        if self._upgrading:
            return
        self._in_body = False
        self._deadline = NEVER
        if self._deaf:
            return
        self.asked = True
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
            if cycle is self._active:
                self._competes = True
                self._admission.came()
        elif self._refused:
            self._refused = False
            self._go_on()

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Mark the end of an answer, which may come before the end of its request."""
        if self._competes:
            self._competes = False
            self._admission.answered()
        self._active = None
        self._untaken = False
        self._go_on()

    def _go_on(self) -> None:
        """Continue with the next request of this connection, if there is one and the caller reads its answers."""
        self.server_state.total_requests += 1
        if self._parting or self.transport.is_closing():
            return
        while self.pipeline:
            if self.flow.write_paused:
                return
            cycle, app = self.pipeline.pop()
            if not cycle.more_body:
                answer = self.gate.refusal(cycle.scope["method"].encode(), cycle.scope["raw_path"])
                if answer is not None:
                    cycle.response_complete = True
                    self.transport.write(answer)
                    if not cycle.keep_alive:
                        self.part()
                        return
                    continue
                self._competes = True
                self._admission.came()
            self._active = cycle
            self._start_asgi_task(cycle, app)
            return
        self._unset_keepalive_if_required()
        if self._last_words:
            self.transport.write(self._last_words)
            self.part()
            return
        self.flow.resume_reading()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def pause_writing(self) -> None:
        """Wait for a caller that does not read its answers, without making other callers wait."""
        super().pause_writing()
        self._untaken_deadline = self.loop.time() + UNTAKEN_SECONDS
        if self._competes:
            self._competes, self._untaken = False, True
            self._admission.left()

    def resume_writing(self) -> None:
        """Continue after the caller has read its answers."""
        super().resume_writing()
        self._untaken_deadline = NEVER
        if self._untaken:
            self._competes, self._untaken = True, False
            self._admission.came()
        elif self._active is None and self.pipeline:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that belongs to the connection."""
        if self._competes:
            self._competes = False
            self._admission.left()
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        self._untaken = False
        self.pipeline.clear()
        self.gate.forget(self)
        super().connection_lost(exc)

    # --- refusals -----------------------------------------------------------------------------------------------------

    def _room(self) -> bool:
        """Return whether a connection beyond the bound, which has now sent a request, can become a normal one."""
        self.gate.forget(self)
        # Other connections beyond the bound do not count: they would keep its places empty for as long as they come.
        normal = len(self.connections) - self.gate.spares
        if normal <= self.gate.max_connections or self.gate.make_room(self.connections, self.loop.time()):
            self.is_spare = False
        return not self.is_spare

    def _answer_spare(self) -> None:
        """Answer a probe and close the connection. Refuse everything else."""
        route = self.gate.route(self.url)
        if route is not None and route.probe:
            self._active = self.cycle = self._cycle()
            self._start_asgi_task(self.cycle, self.app)
        else:
            if self.cycle is None:
                self.cycle = Answered()
            self.crowded_out()

    def _refuse_unparsed(self, data: bytes) -> bool:
        """Refuse a prediction at the least cost, if the data is one complete request for a prediction."""
        if (
            self.is_spare
            or self._in_body
            or self._head_bytes
            or self._active is not None
            or self.pipeline
            or self.flow.write_paused
            or not is_one_request(data)
        ):
            return False
        answer = self.gate.refusal(data[:5].rstrip(), data[5:512].partition(b" ")[0])
        if answer is None:
            return False
        self.asked = True
        self._unset_keepalive_if_required()
        self._deadline = NEVER
        self.transport.write(answer)
        self._go_on()
        return True

    def _refuse(self, answer: bytes) -> None:
        if self.cycle is None:
            self.cycle = Answered()
        self._refused = True
        if self.expect_100_continue:
            # The caller may or may not send the body, so the start of the next request cannot be found.
            self._hang_up(answer)
        else:
            self.transport.write(answer)

    def _note_incomplete_head(self, length: int) -> None:
        if not (self._head_bytes or self.is_spare):
            self._deadline = self.loop.time() + HEAD_SECONDS
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            self._hang_up(HEAD_TOO_LONG)


def guarded(bounds: Gate) -> type[GuardedProtocol]:
    """Return the protocol class for a server."""

    class Bound(GuardedProtocol):
        gate = bounds

    return Bound
