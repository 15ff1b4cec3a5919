"""A proxy between the serving process and a server that it needs. A file says what it does to the connections.

It runs as a separate process: `python -m tests.faults.proxy PORT TARGET_PORT FILE`. The file has one of `FAULTS`, or
`flapping`, and the proxy reads it continuously.
"""

import asyncio
import socket
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

LOOPBACK = "127.0.0.1"
_PIECE = 64 * 1024
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
_FULL = (
    b"HTTP/1.1 507 Insufficient Storage\r\ncontent-type: application/xml\r\ncontent-length: 54\r\n\r\n"
    b"<Error><Code>XMinioStorageFull</Code></Error>         "
)
_PAGE = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 27\r\n\r\n<html>please log in</html>\n"

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


async def _pipe(reader: Reader, writer: Writer, change: Callable[[bytes], bytes] = lambda data: data) -> None:
    while data := await reader.read(_PIECE):
        writer.write(change(data))
        await writer.drain()
    writer.close()


async def _pass(caller: tuple[Reader, Writer], server: tuple[Reader, Writer]) -> None:
    await asyncio.gather(_pipe(caller[0], server[1]), _pipe(server[0], caller[1]))


async def _slow(caller: tuple[Reader, Writer], server: tuple[Reader, Writer]) -> None:
    """Forward 2 KB every 50 ms."""

    async def trickle() -> None:
        while data := await server[0].read(2048):
            caller[1].write(data)
            await caller[1].drain()
            await asyncio.sleep(0.05)
        caller[1].close()

    await asyncio.gather(_pipe(caller[0], server[1]), trickle())


async def _drip(caller: tuple[Reader, Writer], server: tuple[Reader, Writer]) -> None:
    """Forward a byte every tenth of a second: no single wait is long, but the answer never ends."""

    async def drip() -> None:
        while data := await server[0].read(1):
            caller[1].write(data)
            await asyncio.sleep(0.1)

    await asyncio.gather(_pipe(caller[0], server[1]), drip())


async def _silent(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    """Read everything, and never answer."""
    while await caller[0].read(_PIECE):
        pass


async def _corrupt(caller: tuple[Reader, Writer], server: tuple[Reader, Writer]) -> None:
    """Change a bit in every answer's body, except in XML, so that lists of files stay valid."""

    def change(data: bytes) -> bytes:
        body = data.rpartition(b"\r\n\r\n")[2]
        if not body or body.startswith(b"<"):
            return data
        return data[: len(data) - len(body)] + body[:-1] + bytes([body[-1] ^ 1])

    await asyncio.gather(_pipe(caller[0], server[1]), _pipe(server[0], caller[1], change))


async def _cut(caller: tuple[Reader, Writer], server: tuple[Reader, Writer]) -> None:
    """Forward three quarters of an answer, and close the connection."""
    server[1].write(await caller[0].read(_PIECE))
    data = await server[0].read(_PIECE)
    caller[1].write(data[: len(data) * 3 // 4])
    await caller[1].drain()
    caller[1].close()


async def _reset(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    """Reset the connection."""
    await caller[0].read(1)
    connection = caller[1].get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller[1].close()


async def _answer(caller: tuple[Reader, Writer], answer: bytes) -> None:
    while await caller[0].read(_PIECE):
        caller[1].write(answer)
        await caller[1].drain()


async def _unavailable(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    await _answer(caller, _UNAVAILABLE)


async def _full(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    """Answer like MinIO when its disk is full."""
    await _answer(caller, _FULL)


async def _page(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    await _answer(caller, _PAGE)


async def _bomb(caller: tuple[Reader, Writer], _: tuple[Reader, Writer]) -> None:
    """Answer with 2.4 MB of gzip that inflate to a thousand times as much."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    # Data after a full flush does not refer to data before it, so one block can be repeated any number of times.
    body = head + (packer.compress(b" " * 4_000_000) + packer.flush(zlib.Z_FULL_FLUSH)) * 600
    lines = b"content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d" % len(body)
    await _answer(caller, b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (lines, body))


Fault = Callable[[tuple[Reader, Writer], tuple[Reader, Writer]], Awaitable[None]]
FAULTS: dict[str, Fault] = {
    "pass": _pass,
    "slow": _slow,
    "drip": _drip,
    "silent": _silent,
    "corrupt": _corrupt,
    "cut": _cut,
    "reset": _reset,
    "unavailable": _unavailable,
    "full": _full,
    "page": _page,
    "bomb": _bomb,
}


class Proxy:
    """Forwards connections to a server, with the fault that a file names. `flapping` resets every other connection.

    When the file changes, all connections are closed, so that the new fault applies to the next request.
    """

    def __init__(self, target_port: int, file: Path) -> None:
        self._target_port = target_port
        self._file = file
        self._connections = 0
        self._open: set[Writer] = set()

    async def watch(self) -> None:
        """Watch the file for ever."""
        before = ""
        while True:
            name = self._file.read_text()
            if name != before:
                for writer in self._open:
                    writer.close()
            before = name
            await asyncio.sleep(0.02)

    async def handle(self, reader: Reader, writer: Writer) -> None:
        """Handle one connection."""
        name = self._file.read_text().strip()
        self._connections += 1
        if name == "flapping":
            name = "reset" if self._connections % 2 else "pass"
        server = None
        self._open.add(writer)
        try:
            server = await asyncio.open_connection(LOOPBACK, self._target_port)
            await FAULTS[name]((reader, writer), server)
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            for each in (writer, server[1] if server else writer):
                each.close()


async def main(port: int, target_port: int, file: Path) -> None:
    """Serve until the process is killed."""
    proxy = Proxy(target_port, file)
    server = await asyncio.start_server(proxy.handle, LOOPBACK, port)
    await asyncio.gather(server.serve_forever(), proxy.watch())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
