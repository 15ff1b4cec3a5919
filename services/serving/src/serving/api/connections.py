"""Connections that cannot hurt: uvicorn's, with bounds on what a caller may hold up, keep in memory, and for how long.

uvicorn waits for ever for a request's head and takes one of any length, keeps all trailers, and reads on while nobody
takes its answers. Here all of that is bounded, and so is the number of connections: those beyond may ask for the
process's health and metrics, so that nobody takes it for dead who finds it crowded. And when enough requests wait
already, a prediction is refused as soon as its head is there: that costs a fraction of an answer, so what was accepted
is answered as fast as ever.

A request competes for the processor from when it has come in whole until it has its answer, and of each connection one
at most: those behind it on the same connection wait for it and for nobody else.
"""

import asyncio
import socket
import urllib.parse
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.api.cycle import Answered, Cycle, Flow, Sink
from serving.api.gate import Gate
from serving.api.wire import (
    BAD_REQUEST,
    HEAD_TOO_LONG,
    MAX_HEAD_BYTES,
    TIMED_OUT,
    TOO_MANY,
    head_without_upgrade,
    is_one_request,
)

# From the first byte of a head to its last; and from there to the last byte of the body, read by anybody or not.
_HEAD_SECONDS = 10.0
_BODY_SECONDS = 20.0
# Chunk extensions and trailers: what a body may bring with it between two of its own bytes, and after its last.
_MAX_FRAMING_BYTES = 64 * 1024
# How many requests may have come behind one that is not answered yet, on the same connection.
_MAX_PIPELINED = 256
# How long an answer may wait for somebody who does not take it: in the kernel, and here.
_UNTAKEN_SECONDS = 30.0
# How long somebody who has been told off may go on sending. Were the connection closed at once, the kernel would take
# back what was said last, and the caller see a broken connection instead of a reason.
_LINGER_SECONDS = 2.0
_NEVER = float("inf")
# How long a connection beyond the bound may take to say what it wants; and how long others may do nothing before they
# have to leave for one that asks: since they were opened, their last answer, or the head whose body is missing.
_SPARE_SECONDS = 1.0
_SILENT_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_BODILESS_SECONDS = 2.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `gate` is set by `guarded`.

    Attributes:
        asked: Whether a whole request has come over it.
        is_spare: Whether it is one beyond the bound.
    """

    gate: ClassVar[Gate]

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked = self.is_spare = False
        self._admission = self.gate.admission
        self._heads = self._head_bytes = self._framing_bytes = 0
        self._in_body = self._refused = self._upgrading = False
        # The request that is being answered; whether it competes; and whether it would, were its answer taken.
        self._active: Cycle | None = None
        self._competes = self._untaken = False
        # Nothing more is heard; what is said once all who wait have their answers; and whether all is said.
        self._deaf = self._parting = False
        self._last_words = b""
        self._deadline = self._untaken_deadline = _NEVER

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a connection, if only to hear what it wants when there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._answers_to: Any = Sink(transport, self.part)
        self._deadline = self.loop.time() + self.timeout_keep_alive
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT") and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNTAKEN_SECONDS * 1000))
        if len(self.connections) > self.gate.max_connections:
            self.is_spare = True
            self._deadline = self.loop.time() + _SPARE_SECONDS
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
            if self._deadline is _NEVER:
                self._deadline = self.loop.time() + _BODY_SECONDS
            if self._framing_bytes > _MAX_FRAMING_BYTES:
                self._hang_up(HEAD_TOO_LONG)
        elif self._heads == heads and not in_body:
            self._note_incomplete_head(len(data))

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Goes on behind a head that offers another protocol, which is answered in this one (RFC 9110, 7.8).

        The parser would take what follows for that other protocol, so it gets the head once more, without the offer.
        """
        while not self._deaf:
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
        self._deadline = _NEVER
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
        self._deadline = _NEVER
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
        self._untaken_deadline = self.loop.time() + _UNTAKEN_SECONDS
        if self._competes:
            self._competes, self._untaken = False, True
            self._admission.left()

    def resume_writing(self) -> None:
        """Goes on once answers are taken."""
        super().resume_writing()
        self._untaken_deadline = _NEVER
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

    def idle_since(self, now: float) -> float | None:
        """Since when it does nothing, in the loop's time; None while it does something or has hardly stopped."""
        answers = self._active is not None and not self._active.more_body
        if answers or self.pipeline or self.is_spare or self.transport.is_closing():
            return None
        if self._in_body:
            since, patience = self._deadline - _BODY_SECONDS, _BODILESS_SECONDS
        elif self._head_bytes:
            since, patience = self._deadline - _HEAD_SECONDS, _SILENT_SECONDS
        elif self.timeout_keep_alive_task is not None:
            since, patience = self.timeout_keep_alive_task.when() - self.timeout_keep_alive, _IDLE_SECONDS
        else:
            since, patience = self._deadline - self.timeout_keep_alive, _SILENT_SECONDS
        return since if now > since + patience else None

    def dismiss(self) -> None:
        """Hangs up, for another one that has something to ask."""
        if self._in_body or self._head_bytes:
            self.transport.write(TOO_MANY)
        self.transport.close()

    def crowded_out(self) -> None:
        """Hangs up on one that has not said what it wants, where there is no room for it."""
        self.gate.forget(self)
        if not self.transport.is_closing():
            self.transport.write(TOO_MANY)
            self.transport.close()

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
        self._deadline = _NEVER
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
            self._deadline = self.loop.time() + _HEAD_SECONDS
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            self._hang_up(HEAD_TOO_LONG)

    def expire(self, now: float) -> None:
        """Hangs up if what is due has not come by `now`, in the loop's time, or was not taken."""
        if now > self._untaken_deadline:
            self.transport.abort()
        elif now <= self._deadline:
            return
        elif self._parting:
            self.transport.close()
        elif self.is_spare:
            self.crowded_out()
        else:
            self._hang_up(TIMED_OUT if self._head_bytes else b"")

    def _hang_up(self, answer: bytes) -> None:
        """Reads no more, and ends with an answer once those who asked before have theirs."""
        if self._parting or self.transport.is_closing():
            return
        self._deadline = _NEVER
        self._deaf = True
        if self.pipeline or (self._active is not None and not self._active.more_body):
            self._last_words = answer
            if not answer:
                (self.pipeline[0][0] if self.pipeline else self._active).keep_alive = False  # type: ignore[union-attr]
            return
        self.transport.write(answer)
        self.part()

    def part(self) -> None:
        """Closes the connection: at once, or where the caller may still be sending, once it has heard the last word."""
        if self.transport.is_closing() or self._parting:
            return
        if not (self._in_body or self._deaf):
            self.transport.close()
            return
        self._deaf = self._parting = True
        self._deadline = self.loop.time() + _LINGER_SECONDS
        self.pipeline.clear()
        self.flow.resume_reading()
        self.transport.write_eof()


def guarded(bounds: Gate) -> type[GuardedProtocol]:
    """Makes the protocol class for a server."""

    class Bound(GuardedProtocol):
        gate = bounds

    return Bound
