"""Data from a web address."""

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
    refuse_password,
    save,
    shown,
    too_large,
)
from training.errors import BadInputError, OutageError
from training.tables import CSV_SUFFIXES, PARQUET_SUFFIXES, SUFFIXES

_CHUNK = 1 << 20
# File systems allow 255 bytes, and a letter has at most four.
_LONGEST_NAME = 60
_PARQUET_MARK, _GZIP_MARK = b"PAR1", b"\x1f\x8b"


def fetch(address: str, folder: Path) -> Fetched:
    """Fetch a file, within limits of size and time; `DATA_USERNAME` and `DATA_PASSWORD` are sent if they are set.

    Args:
        address: The file's address.
        folder: Where to put it.

    Raises:
        BadInputError: There is no such file, access is denied, or it is larger than 1 GiB.
        OutageError: The server does not answer, or reports a failure.
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
            path = folder / file_name(address)
            save(answer.iter_content(_CHUNK), path, title)
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


def file_name(address: str) -> str:
    """Return a name for the file at an address, which any file system accepts; its end, with the suffix, is kept."""
    name = unquote(PurePosixPath(urlsplit(address).path).name)
    plain = "".join(letter if letter.isprintable() and letter != "/" else "_" for letter in name)[-_LONGEST_NAME:]
    return "data" if plain in ("", ".", "..") else plain


def _inflated(path: Path) -> Path:
    """Return the file without `.gz` in its name, if HTTP has already decompressed it (a Content-Encoding of gzip)."""
    if path.suffix.lower() != ".gz":
        return path
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MARK)) == _GZIP_MARK
    return path if packed else path.rename(path.with_suffix(""))


def _with_suffix(path: Path, kind: str) -> Path:
    """Return the file, renamed with the suffix of its content if the address has none."""
    if path.name.lower().endswith(SUFFIXES):
        return path
    with path.open("rb") as file:
        parquet = file.read(len(_PARQUET_MARK)) == _PARQUET_MARK
    if not parquet and "csv" not in kind:
        return path
    return path.rename(path.with_name(f"{path.name}{PARQUET_SUFFIXES[0] if parquet else CSV_SUFFIXES[0]}"))
