"""Addresses of data: what may be shown of them, what belongs to them in the environment, and how much is fetched."""

import hashlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from training.errors import BadInputError, OutageError

# What a training pod has room for; more than that belongs on a volume.
MOST_BYTES = 1 << 30
MOST_SECONDS = 600
CONNECT_SECONDS = 10
READ_SECONDS = 30
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATABASE = re.compile(r"(postgresql|mysql|mariadb|mssql|oracle|sqlite)(\+[a-z0-9_]+)?")


class Fetched(Struct, frozen=True):
    """A file or folder that was fetched, and what tells its content from a later one at the same address."""

    path: Path
    version: str


def is_address(data: str) -> bool:
    """Whether data is named by an address rather than by a path or a built-in name."""
    return _ADDRESS.match(data) is not None


def is_database(address: str) -> bool:
    """Whether an address is that of a database, as SQLAlchemy writes it."""
    return _DATABASE.fullmatch(urlsplit(address).scheme.lower()) is not None


def shown(address: str) -> str:
    """An address without password and query, either of which may hold a key; but for a version of an object."""
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")
    user = place[0].partition(":")[0]
    version = parts.query if re.fullmatch(r"versionId=[^&]+", parts.query) and parts.scheme == "s3" else ""
    host = f"{user}@{place[2]}" if user else place[2]
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{version}" if version else "")


def named(data: str) -> str:
    """Data as it may be shown and kept: a path as it is, and of an address what `shown` leaves."""
    return shown(data) if is_address(data) else data


def refuse_password(address: str) -> None:
    """Refuse an address with a password in it.

    Raises:
        BadInputError: There is one: it would be visible in git, in the list of processes, or in the history of a shell.
    """
    if urlsplit(address).netloc.rpartition("@")[0].partition(":")[2]:
        raise BadInputError(
            f"--data: {shown(address)} contains a password, which would be visible in git or in the list of "
            "processes; leave it out, and set DATA_PASSWORD."
        )


def told(name: str) -> str | None:
    """A variable of the data's own, `DATA_NAME`; or the usual `NAME` where that is not set."""
    return os.environ.get(f"DATA_{name}") or os.environ.get(name) or None


def kept(chunks: Iterable[bytes], path: Path, address: str, room: int = MOST_BYTES) -> int:
    """Write what comes to a file, within bounds of size and time.

    Args:
        chunks: What comes.
        path: The file.
        address: Where it is from, for the sentence.
        room: How many bytes may come.

    Returns:
        How many bytes came.

    Raises:
        BadInputError: It is larger.
        OutageError: It takes too long.
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
    """The sentence for what is larger than is fetched."""
    return BadInputError(
        f"{address}: larger than the {MOST_BYTES >> 20} MiB that may be downloaded; give a part of it, or mount it as "
        "a file."
    )


def content_version(path: Path) -> str:
    """A file's own hash, where its source tells no version of it."""
    with path.open("rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
