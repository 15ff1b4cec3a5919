"""Bounds the messages that arrive at once, because gRPC itself bounds only each of them.

gRPC allows a caller to send a whole message as soon as the server starts to read it, and no more than a flow control
window before that. So the calls take turns to read. A call that reads for too long is ended, sooner if others wait.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from serving.errors import OverloadedError

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# How long a message may take to arrive, and how long if other calls wait for their turn.
_ARRIVE_SECONDS = 10.0
_CROWDED_SECONDS = 2.0


async def refuse(
    context: Context, code: grpc.StatusCode, words: str, trailers: tuple[tuple[str, str], ...] = ()
) -> NoReturn:
    """End a call with an error.

    Raises:
        grpc.aio.AbortError: always, except
        CancelledError: if the caller is gone. gRPC would log any other error.
    """
    try:
        await context.abort(code, words, trailers)
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


class _Arrival:
    """A call that reads a message, since a time of the event loop. `ended` says that it took too long."""

    __slots__ = ("context", "ended", "since")

    def __init__(self, context: Context, since: float) -> None:
        self.context = context
        self.since = since
        self.ended = False


class Arrivals:
    """Lets `at_once` calls read a message at once, and `waiting` more wait for their turn, in their order."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._most_waiting = waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        # The oldest comes first.
        self._arriving: dict[Context, _Arrival] = {}
        self._look: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def message(self, context: Context) -> Any:
        """Return the next message of a call, or `grpc.aio.EOF` if there is none.

        Raises:
            OverloadedError: if too many calls wait for their turn.
            grpc.aio.AbortError: if the message does not arrive in time, or is not one of the method's. The caller has
                been told.
        """
        await self._turn()
        self._arriving[context] = _Arrival(context, asyncio.get_running_loop().time())
        self._look_again()
        try:
            return await context.read()
        except DecodeError:
            await refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "The bytes of the call are not the method's request in protobuf.",
            )
        finally:
            del self._arriving[context]
            self._pass_on()

    async def only(self, context: Context) -> Any:
        """Return the only message of a call.

        Raises:
            OverloadedError, grpc.aio.AbortError: as above, and the latter also if there is no message.
        """
        message = await self.message(context)
        if message is grpc.aio.EOF:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "The call ended without a message.")
        return message

    async def _turn(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise OverloadedError
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._look_again()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            else:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _look_again(self) -> None:
        """Make sure that `_end_late` runs when the oldest message is late."""
        oldest = next((arrival for arrival in self._arriving.values() if not arrival.ended), None)
        if oldest is None:
            return
        at = oldest.since + (_CROWDED_SECONDS if self._waiting else _ARRIVE_SECONDS)
        if self._look is not None:
            if self._look.when() <= at:
                return
            self._look.cancel()
        self._look = asyncio.get_running_loop().call_at(at, self._end_late)

    def _end_late(self) -> None:
        """End the calls whose messages are late. If others wait, it ends as many of the oldest ones as wait."""
        self._look = None
        loop = asyncio.get_running_loop()
        now, wanted = loop.time(), len(self._waiting)
        for arrival in self._arriving.values():
            age = now - arrival.since
            if age < _ARRIVE_SECONDS and (wanted <= 0 or age < _CROWDED_SECONDS):
                break
            wanted -= 1
            if not arrival.ended:
                arrival.ended = True
                ending = loop.create_task(self._end(arrival.context))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
        self._look_again()

    async def _end(self, context: Context) -> None:
        """End a call while it reads. The read then fails by itself: to cancel it could leak a message in gRPC."""
        if context in self._arriving:
            with contextlib.suppress(grpc.aio.BaseError):
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The message did not arrive in time.")


class BoundedReading(grpc.aio.ServerInterceptor):
    """Makes all methods read their messages through `Arrivals`, except those below the path `own`, which already do."""

    def __init__(self, own: str, arrivals: Arrivals) -> None:
        self._own = own
        self._arrivals = arrivals

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(self._own):
            return handler
        return self._bounded(handler)

    def _bounded(self, handler: Any) -> Any:
        """Return a handler that reads by itself. gRPC would read a unary request before it calls the handler."""
        coders = handler.request_deserializer, handler.response_serializer

        async def unary_unary(_: Any, context: Context) -> Any:
            return await handler.unary_unary(await self._read(self._arrivals.only, context), context)

        async def unary_stream(_: Any, context: Context) -> None:
            await handler.unary_stream(await self._read(self._arrivals.only, context), context)

        async def stream_stream(_: Any, context: Context) -> AsyncIterator[Any]:
            async for answer in handler.stream_stream(self._messages(context), context):
                yield answer

        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(unary_unary, *coders)
        return grpc.stream_stream_rpc_method_handler(unary_stream if handler.unary_stream else stream_stream, *coders)

    async def _messages(self, context: Context) -> AsyncIterator[Any]:
        while (message := await self._read(self._arrivals.message, context)) is not grpc.aio.EOF:
            yield message

    async def _read(self, read: Callable[[Context], Awaitable[Any]], context: Context) -> Any:
        try:
            return await read(context)
        except OverloadedError as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
