"""Connection limits and timeouts: uvicorn's connections, with bounds on time, memory and number.

uvicorn waits for ever for a request's head, takes one of any length, keeps all trailers, and reads on while nobody
takes its answers. Here all of that has bounds, and so has the number of connections. Connections beyond it may ask for
health and metrics, so that probes don't mark a busy process dead. When enough requests wait already, a prediction is
refused as soon as its head is there. That costs a fraction of an answer, so accepted requests are as fast as ever.

A request competes for the processor from when it has come in whole until it has its answer, and of each connection one
at most: those behind it on the same connection wait for it and for nobody else.
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

# Chunk extensions and trailers: what a body may bring with it between two of its own bytes, and after its last.
_MAX_FRAMING_BYTES = 64 * 1024
# How many requests may have come behind one that is not answered yet, on the same connection.
_MAX_PIPELINED = 256


class GuardedProtocol(Leaving):
    """One connection. `gate` is set by `guarded`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._admission = self.gate.admission
        self._heads = self._framing_bytes = 0
        self._refused = self._upgrading = False
        # Whether the request that is being answered competes; and whether it would, were its answer taken.
        self._competes = self._untaken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a connection, if only to hear what it wants when there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._answers_to: Any = Sink(transport, self.part)
        self._deadline = self.loop.time() + self.timeout_keep_alive
        connection = transport.get_extra_info("socket")
        # Callers over a Unix socket have no address, and such a socket no such option.
        if self.client is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNTAKEN_SECONDS * 1000))
        if len(self.connections) > self.gate.max_connections:
            self.is_spare = True
            self._deadline = self.loop.time() + SPARE_SECONDS
            self.gate.spare(self)

    # --- what the parser finds ----------------------------------------------------------------------------------------
    # It runs for every request, so it is uvicorn's written anew where a call more would be felt.

    def data_received(self, data: bytes) -> None:
        """Takes bytes, and looks at the clock when they end in the middle of a request."""
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
        """Goes on behind a head that offers another protocol, which is answered in this one (RFC 9110, 7.8).

        The parser would take what follows for that other protocol, so it gets the head once more, without the offer.
        CONNECT is such an offer by its method: it asks for a tunnel, which nobody gets here.
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
        """Notes a header field."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begins to answer, or refuses to."""
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
        # Fields behind the body are no part of the request's head, and kept for nobody.
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
        """Makes what answers the request whose head is there."""
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
        """Takes a piece of a body, unless nobody wants it any more."""
        self._framing_bytes = 0
        if self._deaf or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Notes the end of a request."""
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
        """Notes the end of an answer, which may come before that of its request."""
        if self._competes:
            self._competes = False
            self._admission.answered()
        self._active = None
        self._untaken = False
        self._go_on()

    def _go_on(self) -> None:
        """Turns to the next request of this connection, if one has come and the answers before it are taken."""
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
        """Waits for somebody who does not take answers, and lets nobody else wait for that."""
        super().pause_writing()
        self._untaken_deadline = self.loop.time() + UNTAKEN_SECONDS
        if self._competes:
            self._competes, self._untaken = False, True
            self._admission.left()

    def resume_writing(self) -> None:
        """Goes on once answers are taken."""
        super().resume_writing()
        self._untaken_deadline = NEVER
        if self._untaken:
            self._competes, self._untaken = True, False
            self._admission.came()
        elif self._active is None and self.pipeline:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
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
        """Whether one beyond the bound that has said what it wants can stay, and be as all others."""
        self.gate.forget(self)
        if len(self.connections) <= self.gate.max_connections or self.gate.make_room(
            self.connections, self.loop.time()
        ):
            self.is_spare = False
        return not self.is_spare

    def _answer_spare(self) -> None:
        """Answers a probe and hangs up, and refuses everything else."""
        route = self.gate.route(self.url)
        if route is not None and route.probe:
            self._active = self.cycle = self._cycle()
            self._start_asgi_task(self.cycle, self.app)
        else:
            if self.cycle is None:
                self.cycle = Answered()
            self.crowded_out()

    def _refuse_unparsed(self, data: bytes) -> bool:
        """Refuses a prediction that has come in one piece, if that is what this is, at the least cost."""
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
            # Whether the body still comes is up to the caller, so what follows cannot be told apart.
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
    """Makes the protocol class for a server."""

    class Bound(GuardedProtocol):
        gate = bounds

    return Bound
