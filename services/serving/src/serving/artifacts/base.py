"""The interface of artifact stores, and the download of a whole folder from a store that is not trusted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from serving.backoff import Backoff
from serving.errors import ModelUnusableError, StoreUnavailableError

MAX_FILES = 200
_ATTEMPTS = 3


class RemoteFile(msgspec.Struct, frozen=True):
    """A file of a stored folder: its path inside the folder and its size in bytes, as the store reports them."""

    path: str
    size: int


class ArtifactStore(Protocol):
    """A store that has folders of files at addresses."""

    def files(self, uri: str) -> AsyncIterator[RemoteFile]:
        """List the files below an address.

        Raises:
            StoreUnavailableError: if the store does not answer, or refuses the request.
        """
        ...

    async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
        """Write one file to `target`.

        Raises:
            StoreUnavailableError: if the store does not answer, or refuses the request.
            ModelUnusableError: if the file is longer than `limit` bytes, or does not exist.
        """
        ...


class BoundedWriter:
    """Writes a file chunk by chunk, up to `limit` bytes."""

    def __init__(self, target: Path, limit: int) -> None:
        self._left = limit
        self._file = target.open("wb")

    def __enter__(self) -> "BoundedWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Append a chunk.

        Raises:
            ModelUnusableError: if the file would become longer than allowed.
        """
        self._left -= len(chunk)
        if self._left < 0:
            raise ModelUnusableError("its files are larger than MAX_MODEL_BYTES")
        self._file.write(chunk)


async def download(store: ArtifactStore, uri: str, folder: Path, max_bytes: int) -> None:
    """Download all files below an address into an empty folder.

    Raises:
        StoreUnavailableError: if the store does not answer after a few attempts.
        ModelUnusableError: if there are no files, too many, too large ones, or a name that leads out of the folder.
    """
    files = await _listed(store, uri, max_bytes)
    left = max_bytes
    for file in files:
        target = folder / safe_path(file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        await _fetch(store, uri, file.path, target, left)
        left -= target.stat().st_size


async def _listed(store: ArtifactStore, uri: str, max_bytes: int) -> list[RemoteFile]:
    files: list[RemoteFile] = []
    async for file in store.files(uri):
        safe_path(file.path)
        files.append(file)
        if len(files) > MAX_FILES:
            raise ModelUnusableError(f"it has more than {MAX_FILES} files")
    if not files:
        raise ModelUnusableError("there are no files at the address in the registry")
    if sum(file.size for file in files) > max_bytes:
        raise ModelUnusableError("its files are larger than MAX_MODEL_BYTES")
    return files


async def _fetch(store: ArtifactStore, uri: str, path: str, target: Path, limit: int) -> None:
    backoff = Backoff(first=0.2, cap=1.0)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await store.fetch(uri, path, target, limit)
        except StoreUnavailableError:
            if attempt == _ATTEMPTS:
                raise
        await asyncio.sleep(backoff.next())
    return None


def safe_path(path: str) -> PurePosixPath:
    """Check a path from a store: it must be relative, inside the folder, printable and not too long.

    Raises:
        ModelUnusableError: if it is not.
    """
    parts = PurePosixPath(path)
    if (
        not parts.parts
        or parts.is_absolute()
        or ".." in parts.parts
        or "\\" in path
        or not path.isprintable()
        or len(path) > 500
    ):
        raise ModelUnusableError(f"a file of its folder has an unsafe name: {path!r}")
    return parts
