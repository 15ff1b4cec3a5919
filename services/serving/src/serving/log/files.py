"""Lines gathered into compressed files, each of one hour, that end when they are large or old enough."""

import secrets
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from modelformat.logged import SUFFIX
from serving.log.lines import Hour

# A file ends when it is so large, compressed or not.
_MOST_BYTES = 1024 * 1024
_MOST_TEXT = 16 * 1024 * 1024
_LEVEL = 6
_GZIP = zlib.MAX_WBITS | 16


class File(msgspec.Struct, frozen=True, eq=False):
    """A finished file: where it goes, below the log's address, its bytes, and how many rows it has."""

    path: str
    body: bytes
    rows: int


class _Open:
    """The file that is being written."""

    def __init__(self, began: int, ends_at: float) -> None:
        self.began = began
        self.ends_at = ends_at
        self.rows = self.text = self.bytes = 0
        self._opened = time.time()
        self._parts: list[bytes] = []
        self._deflator = zlib.compressobj(_LEVEL, wbits=_GZIP)

    def add(self, hour: Hour) -> None:
        """Adds lines."""
        self._keep(self._deflator.compress(hour.text))
        self.rows += hour.rows
        self.text += len(hour.text)

    def end(self, name: str) -> File:
        """Gives the file."""
        self._keep(self._deflator.flush())
        hour = datetime.fromtimestamp(self.began, UTC)
        opened = datetime.fromtimestamp(self._opened, UTC)
        path = f"date={hour:%Y-%m-%d}/hour={hour:%H}/{opened:%Y%m%dT%H%M%SZ}-{name}"
        return File(path, b"".join(self._parts), self.rows)

    def _keep(self, part: bytes) -> None:
        self.bytes += len(part)
        if part:
            self._parts.append(part)


class Files:
    """Makes the files of one process, one after the other. They have names that nobody can guess.

    Args:
        seconds: How old a file may grow.
        on_file: Is given each that is finished.
        suffix: What their names end in.
    """

    def __init__(self, seconds: float, on_file: Callable[[File], None], suffix: str = SUFFIX) -> None:
        self._seconds = seconds
        self._on_file = on_file
        self._suffix = suffix
        self._name = secrets.token_hex(8)
        self._count = 0
        self._open: _Open | None = None

    def add(self, hour: Hour) -> None:
        """Adds lines, to a new file where they are of another hour."""
        if self._open is not None and self._open.began != hour.began:
            self.end()
        if self._open is None:
            self._open = _Open(hour.began, time.monotonic() + self._seconds)
        self._open.add(hour)
        if self._open.bytes >= _MOST_BYTES or self._open.text >= _MOST_TEXT:
            self.end()

    def wait(self) -> float:
        """How many seconds the file that is being written may still grow; as many as any, where there is none."""
        return self._seconds if self._open is None else max(0.0, self._open.ends_at - time.monotonic())

    def end_if_due(self) -> None:
        """Ends the file when it is old enough."""
        if self._open is not None and time.monotonic() >= self._open.ends_at:
            self.end()

    def end(self) -> None:
        """Ends the file, if there is one."""
        if self._open is not None:
            self._count += 1
            ended, self._open = self._open.end(f"{self._name}-{self._count}{self._suffix}"), None
            self._on_file(ended)
