"""Serve a folder as a web site."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Quiet(SimpleHTTPRequestHandler):
    """Returns files, and ignores the query string."""

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def site_of(folder: Path) -> Iterator[str]:
    """Serve a folder's files. Yield the site's address, without a slash at its end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
