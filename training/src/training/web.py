"""Data from an address of the web."""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from training.addresses import (
    CONNECT_SECONDS,
    MOST_BYTES,
    READ_SECONDS,
    Fetched,
    content_version,
    kept,
    refuse_password,
    shown,
    too_large,
)
from training.errors import BadInputError, OutageError
from training.tables import CSV_SUFFIXES, PARQUET_SUFFIXES, SUFFIXES

_CHUNK = 1 << 20
_PARQUET_MARK, _GZIP_MARK = b"PAR1", b"\x1f\x8b"


def fetch(address: str, folder: Path) -> Fetched:
    """Fetch a file, within bounds of size and time; `DATA_USERNAME` and `DATA_PASSWORD` are sent where they are set.

    Args:
        address: Its address.
        folder: Where to put it.

    Raises:
        BadInputError: There is no such file, it is not let out, or is larger than 1 GiB.
        OutageError: The server does not answer, or says that it cannot.
    """
    title = shown(address)
    refuse_password(address)
    user = os.environ.get("DATA_USERNAME")
    login = (user, os.environ.get("DATA_PASSWORD", "")) if user else None
    try:
        with requests.get(address, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), auth=login) as answer:
            if address.startswith("https:") and not answer.url.startswith("https:"):
                raise BadInputError(f"{title}: redirects to an address without encryption.")
            if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
                raise OutageError(f"{title}: the server answers {answer.status_code}.")
            if answer.status_code != 200:
                raise BadInputError(f"{title}: the server answers {answer.status_code} {answer.reason}.")
            if int(answer.headers.get("Content-Length") or 0) > MOST_BYTES:
                raise too_large(title)
            path = folder / (unquote(PurePosixPath(urlsplit(address).path).name) or "data").replace("/", "_")
            kept(answer.iter_content(_CHUNK), path, title)
            etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
            kind = answer.headers.get("Content-Type", "")
    except requests.exceptions.InvalidURL as error:
        raise BadInputError(f"--data: {title!r} is not an address.") from error
    except requests.RequestException as error:
        reason = type(error).__name__ if "@" in str(error) or "?" in str(error) else " ".join(str(error).split())
        raise OutageError(f"{title}: cannot be fetched ({reason}).") from error
    path = _with_suffix(_inflated(path), kind)
    content = content_version(path)
    return Fetched(path, f"etag {etag}, {content}" if etag else content)


def _inflated(path: Path) -> Path:
    """The file without `.gz` in its name where it was inflated on the way, as servers ask for that call it encoded."""
    if path.suffix.lower() != ".gz":
        return path
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MARK)) == _GZIP_MARK
    return path if packed else path.rename(path.with_suffix(""))


def _with_suffix(path: Path, kind: str) -> Path:
    """The file under a name that says how it is written, where the address does not."""
    if path.name.lower().endswith(SUFFIXES):
        return path
    with path.open("rb") as file:
        parquet = file.read(len(_PARQUET_MARK)) == _PARQUET_MARK
    if not parquet and "csv" not in kind:
        return path
    return path.rename(path.with_name(f"{path.name}{PARQUET_SUFFIXES[0] if parquet else CSV_SUFFIXES[0]}"))
