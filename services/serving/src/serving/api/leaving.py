"""How a connection ends: for what has not come in time, for others that need its place, or once all is said."""

from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.api.wire import TIMED_OUT, TOO_MANY

if TYPE_CHECKING:
    from serving.api.gate import Gate

# From the first byte of a head to its last; and from there to the last byte of the body, read by anybody or not.
HEAD_SECONDS = 10.0
BODY_SECONDS = 20.0
# How long an answer may wait for somebody who does not take it: in the kernel, and here.
UNTAKEN_SECONDS = 30.0
# How long somebody who has been told off may go on sending. Were the connection closed at once, the kernel would take
# back what was said last, and the caller see a broken connection instead of a reason.
_LINGER_SECONDS = 2.0
NEVER = float("inf")
# How long a connection beyond the bound may take to say what it wants; and how long others may do nothing before they
# have to leave for one that asks: since they were opened, their last answer, or the head whose body is missing.
SPARE_SECONDS = 1.0
_SILENT_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_BODILESS_SECONDS = 2.0


class Leaving(HttpToolsProtocol):
    """One connection, as far as it may have to go.

    Attributes:
        asked: Whether a whole request has come over it.
        is_spare: Whether it is one beyond the bound.
    """

    gate: "ClassVar[Gate]"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked = self.is_spare = False
        # How much of a head has come that is not whole yet, whether a body is awaited, and what is being answered.
        self._head_bytes = 0
        self._in_body = False
        self._active: RequestResponseCycle | None = None
        # Nothing more is heard; what is said once all who wait have their answers; and whether all is said.
        self._deaf = self._parting = False
        self._last_words = b""
        self._deadline = self._untaken_deadline = NEVER

    def idle_since(self, now: float) -> float | None:
        """Since when it does nothing, in the loop's time; None while it does something or has hardly stopped."""
        answers = self._active is not None and not self._active.more_body
        if answers or self.pipeline or self.is_spare or self.transport.is_closing():
            return None
        if self._in_body:
            since, patience = self._deadline - BODY_SECONDS, _BODILESS_SECONDS
        elif self._head_bytes:
            since, patience = self._deadline - HEAD_SECONDS, _SILENT_SECONDS
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
        self._deadline = NEVER
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
