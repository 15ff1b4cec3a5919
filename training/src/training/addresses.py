"""Addresses of data: how they are shown, which environment variables belong to them, and limits for downloads."""

import hashlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from training.errors import BadInputError, OutageError

# The most that a training pod has room for. Larger data belongs on a volume.
MOST_BYTES = 1 << 30
MOST_SECONDS = 600
CONNECT_SECONDS = 10
READ_SECONDS = 30
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATABASE = re.compile(r"(postgresql|mysql|mariadb|mssql|oracle|sqlite)(\+[a-z0-9_]+)?")


class Fetched(Struct, frozen=True):
    """A downloaded file or folder, and what distinguishes its content from a later one at the same address."""

    path: Path
    version: str


def is_address(data: str) -> bool:
    """Return whether data is an address, rather than a path or a built-in name."""
    return _ADDRESS.match(data) is not None


def is_database(address: str) -> bool:
    """Return whether an address is a database's, in SQLAlchemy's form."""
    return _DATABASE.fullmatch(urlsplit(address).scheme.lower()) is not None


def shown(address: str) -> str:
    """Return an address without password and query, which may hold secrets; an object's `versionId` is kept."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")
    user = place[0].partition(":")[0]
    version = parts.query if re.fullmatch(r"versionId=[^&]+", parts.query) and parts.scheme == "s3" else ""
    host = f"{user}@{place[2]}" if user else place[2]
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{version}" if version else "")


def named(data: str) -> str:
    """Return data as it may be shown and recorded: a path as it is, an address as `shown` gives it."""
    return shown(data) if is_address(data) else data


def refuse_password(address: str) -> None:
    """Refuse an address with a password in it.

    Raises:
        BadInputError: It has one, which would be visible in git, in the list of processes, or in a shell's history.
    """
    if urlsplit(address).netloc.rpartition("@")[0].partition(":")[2]:
        raise BadInputError(
            f"--data: {shown(address)} contains a password, which would be visible in git or in the list of "
            "processes; leave it out, and set DATA_PASSWORD."
        )


def data_variable(name: str) -> str | None:
    """Return the environment variable `DATA_NAME`, which applies to data alone, or else the usual `NAME`."""
    return os.environ.get(f"DATA_{name}") or os.environ.get(name) or None


def save(chunks: Iterable[bytes], path: Path, address: str, room: int = MOST_BYTES) -> int:
    """Write chunks to a file, within limits of size and time.

    Args:
        chunks: The content.
        path: The file.
        address: Where the content comes from, for the error.
        room: The most bytes to write.

    Returns:
        The number of bytes written.

    Raises:
        BadInputError: The content is larger.
        OutageError: The download takes too long.
    """
    started, size = time.monotonic(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > room:
                raise too_large(address)
            if time.monotonic() - started > MOST_SECONDS:
                raise OutageError(f"{address}: not downloaded after {MOST_SECONDS} s.")
            file.write(chunk)
    return size


def too_large(address: str) -> BadInputError:
    """Return the error for data that is larger than the limit."""
    return BadInputError(
        f"{address}: larger than the {MOST_BYTES >> 20} MiB that may be downloaded; give a part of it, or mount it as "
        "a file."
    )


def content_version(path: Path) -> str:
    """Return the hash of a file, for sources that give no version."""
    with path.open("rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
