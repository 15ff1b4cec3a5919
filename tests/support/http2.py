"""A caller of gRPC that sends parts of messages, which no client library does. It speaks just enough of HTTP/2.

The library `h2` cannot take its place: once a server has said that it takes no new calls (GOAWAY), it lets no call end.
"""

import select
import socket
import struct
from types import TracebackType

import msgspec

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW = 4
_FRAME_BYTES = 16384
_MORE_SECONDS = 0.3


class Call(msgspec.Struct):
    """A call in progress: what is left to send, what the server allows, and what it answered.

    `left` is without the last byte until `PartialCaller.complete`.
    """

    left: bytes
    last: bytes
    window: int
    answered: bytes = b""
    ended: bool = False


class PartialCaller:
    """A connection with calls that send their message except for its last byte, as far as the server lets them."""

    def __init__(self, host: str, port: int) -> None:
        self.closed = False
        self._socket = socket.create_connection((host, port), timeout=30)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0))
        self._calls: dict[int, Call] = {}
        self._window = self._initial = 65535
        self._heard = b""

    def __enter__(self) -> "PartialCaller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, method: str, message: bytes) -> Call:
        """Start a call of a method, such as `/package.Service/Method`."""
        number = 2 * len(self._calls) + 1
        framed = b"\0" + struct.pack(">I", len(message)) + message
        self._calls[number] = Call(framed[:-1], framed[-1:], self._initial)
        self._send(_frame(_HEADERS, _END_HEADERS, number, _headers(method)))
        return self._calls[number]

    def exchange(self) -> None:
        """Send what the server allows and read what it says, until it says nothing more."""
        while not self.closed:
            for number, call in self._calls.items():
                while (size := min(len(call.left), call.window, self._window, _FRAME_BYTES)) and not call.ended:
                    self._take(number, call, size)
            if not select.select([self._socket], [], [], _MORE_SECONDS)[0]:
                return
            self._read()

    def complete(self, call: Call) -> None:
        """Send the last byte of a message, and end the stream."""
        number = next(number for number, each in self._calls.items() if each is call)
        self._send(_frame(_DATA, _END_STREAM, number, call.last))

    def _take(self, number: int, call: Call, size: int) -> None:
        self._send(_frame(_DATA, 0, number, call.left[:size]))
        call.left = call.left[size:]
        call.window -= size
        self._window -= size

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.sendall(frame)
        except ConnectionError:
            self.closed = True

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self.closed = not data
        self._heard += data
        while len(self._heard) >= 9 and len(self._heard) >= (end := 9 + int.from_bytes(self._heard[:3], "big")):
            kind, flags, number = struct.unpack(">BBI", self._heard[3:9])
            payload, self._heard = self._heard[9:end], self._heard[end:]
            self._take_in(kind, flags, number, payload)

    def _take_in(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for setting, value in struct.iter_unpack(">HI", payload):
                if setting == _INITIAL_WINDOW:
                    for call in self._calls.values():
                        call.window += value - self._initial
                    self._initial = value
            self._send(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE and not number:
            self._window += int.from_bytes(payload, "big")
        elif told := self._calls.get(number):
            if kind == _WINDOW_UPDATE:
                told.window += int.from_bytes(payload, "big")
            elif kind in (_DATA, _HEADERS):
                told.answered += payload
            told.ended |= kind == _RESET or (kind in (_DATA, _HEADERS) and bool(flags & _END_STREAM))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(method: str) -> bytes:
    fields = {
        ":method": "POST", ":scheme": "http", ":path": method, ":authority": "tests",
        "te": "trailers", "content-type": "application/grpc",
    }  # fmt: skip
    # HPACK's literals that are not indexed and not compressed.
    pairs = ((name.encode(), value.encode()) for name, value in fields.items())
    return b"".join(b"\0%c%s%c%s" % (len(name), name, len(value), value) for name, value in pairs)
