"""How a connection ends: after a timeout, to make room for another, or after its last answer."""

from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.api.wire import TIMED_OUT, TOO_MANY

if TYPE_CHECKING:
    from serving.api.gate import Gate

# The time for a head, from its first byte to its last, and then until the last byte of the body, read or unread.
HEAD_SECONDS = 10.0
BODY_SECONDS = 20.0
# How long an answer may wait for a caller that does not read it, in the kernel and here.
UNTAKEN_SECONDS = 30.0
# How long a refused caller may continue to send. If the connection were closed at once, the kernel would discard the
# refusal, and the caller would see a broken connection instead of a reason.
_LINGER_SECONDS = 2.0
NEVER = float("inf")
# How long a connection beyond the bound may wait before it sends a request. Then how long other connections may be idle
# before they must make room: since they were opened, since their last answer, or since a head whose body is missing.
SPARE_SECONDS = 1.0
_SILENT_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_BODILESS_SECONDS = 2.0


class Leaving(HttpToolsProtocol):
    """The part of a connection that decides when and how it ends.

    Attributes:
        asked: Whether a complete request has come over it.
        is_spare: Whether it is beyond the bound.
    """

    gate: "ClassVar[Gate]"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked = self.is_spare = False
        # The bytes of an incomplete head, whether a body is expected, and the request that is being answered.
        self._head_bytes = 0
        self._in_body = False
        self._active: RequestResponseCycle | None = None
        # Whether no more input is parsed; whether the last answer is sent; the answer to send after all others.
        self._deaf = self._parting = False
        self._last_words = b""
        self._deadline = self._untaken_deadline = NEVER

    def idle_since(self, now: float) -> float | None:
        """Return since when it has been idle, in the loop's time. None if it is busy or has only just become idle."""
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
        """Close the connection in favour of another one that has sent a request."""
        if self._in_body or self._head_bytes:
            self.transport.write(TOO_MANY)
        self.transport.close()

    def crowded_out(self) -> None:
        """Close a connection beyond the bound that there is no room for."""
        self.gate.forget(self)
        if not self.transport.is_closing():
            self.transport.write(TOO_MANY)
            self.transport.close()

    def expire(self, now: float) -> None:
        """Close the connection if its deadline for input or for answers has passed at `now`, in the loop's time."""
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
        """Stop reading, and end with an answer after the answers to earlier requests."""
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
        """Close the connection: at once, or later if the caller may still be sending and must read the answer first."""
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
