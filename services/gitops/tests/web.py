"""Servers on the loopback address for tests, which run inside a block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class AnyMethod(BaseHTTPRequestHandler):
    """Handles every method in `answer_it`."""

    def answer_it(self) -> None:
        """Answer the request; only its head was read."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer_it()

    def do_HEAD(self) -> None:
        self.answer_it()

    def do_POST(self) -> None:
        self.answer_it()

    def do_PATCH(self) -> None:
        self.answer_it()

    def do_PUT(self) -> None:
        self.answer_it()

    def do_DELETE(self) -> None:
        self.answer_it()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def listening(server: HTTPServer) -> Iterator[int]:
    """Serve inside the block, and yield the port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
