"""Artifacts in a folder of this machine (`file://`), as MLflow keeps them without an artifact server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.artifacts.base import BoundedWriter, RemoteFile
from serving.errors import ModelUnusableError, StoreUnavailableError

_CHUNK = 1024 * 1024


class FolderStore:
    """Reads `file:///path` addresses and plain absolute paths."""

    async def files(self, uri: str) -> AsyncIterator[RemoteFile]:
        """List the regular files below the folder. Links are not followed."""
        root = _root(uri)
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield RemoteFile(path.relative_to(root).as_posix(), path.stat().st_size)

    async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
        """Copy one file."""
        await asyncio.to_thread(_copy, _root(uri) / path, target, limit)


def _root(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _copy(source: Path, target: Path, limit: int) -> None:
    try:
        with source.open("rb") as file, BoundedWriter(target, limit) as writer:
            while chunk := file.read(_CHUNK):
                writer.write(chunk)
    except FileNotFoundError:
        raise ModelUnusableError(f"its file {source.name!r} is gone") from None
    except OSError as error:
        raise StoreUnavailableError(f"its file {source.name!r} cannot be read: {error.strerror}") from error
