"""The folder on this machine that holds downloaded model versions, each proved by its digest."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serving.artifacts.base import ArtifactStore, download
from serving.digest import content_digest
from serving.errors import DigestMismatchError, ModelUnusableError, StoreUnavailableError
from serving.spans import NO_SPANS, Spans

_PARTIAL = ".partial-"


class Downloaded(msgspec.Struct, frozen=True):
    """The files of a version on this machine, and the digest that they were found to have."""

    folder: Path
    digest: str


class ModelFiles:
    """Downloads versions into the folder `root`, each into one named after its digest, and keeps the `keep` used last.

    `stores` gives the store for each kind of address, asked only when it is needed.
    A version may have `max_bytes`, and `seconds` to arrive in. Each download is a span.

    A folder appears under its final name only when complete, so what is there can be used again after a restart.
    """

    def __init__(
        self,
        root: Path,
        stores: Mapping[str, Callable[[], ArtifactStore]],
        *,
        max_bytes: int,
        keep: int,
        seconds: float = 300.0,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._root = root
        self._stores = stores
        self._max_bytes = max_bytes
        self._keep = keep
        self._seconds = seconds
        self._spans = spans
        self._proving = asyncio.Lock()
        for leftover in root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    async def get(self, uri: str, expected: str | None) -> Downloaded:
        """Gives the files stored at `uri`, downloading them unless they are here already.

        Raises:
            DigestMismatchError: when `expected` is given and is not their digest.
            ModelUnusableError: when they cannot be what a model needs (see `download`).
            StoreUnavailableError: when the store does not answer, or the files cannot be written.
        """
        try:
            if expected and (kept := await self._kept(expected)):
                return kept
            return await self._downloaded(uri, expected)
        except OSError as error:
            raise StoreUnavailableError(f"its files cannot be kept in MODEL_DIR ({error.strerror})") from error

    async def _downloaded(self, uri: str, expected: str | None) -> Downloaded:
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._root))
        try:
            with self._spans.span("download model", {"model.uri": uri}):
                async with asyncio.timeout(self._seconds):
                    await download(self._store(uri), uri, partial, self._max_bytes)
            digest = await asyncio.to_thread(content_digest, partial)
            if expected and digest != expected:
                raise DigestMismatchError(f"its files have digest {digest}, but {expected} is expected")
            # Another version may have the same files, and be about to read them.
            return await self._kept(digest) or self._finish(partial, digest)
        except TimeoutError:
            raise StoreUnavailableError(f"its files did not arrive within {self._seconds:g} s") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _store(self, uri: str) -> ArtifactStore:
        scheme = urlsplit(uri).scheme or "file"
        if scheme not in self._stores:
            known = ", ".join(sorted(self._stores))
            raise ModelUnusableError(
                f"its files are at a {scheme}: address, which cannot be read (only {known}); "
                "let MLflow serve artifacts (--serve-artifacts) to reach other stores"
            )
        return self._stores[scheme]()

    async def _kept(self, digest: str) -> Downloaded | None:
        """Gives the files that are here already, if they have that digest indeed; if not, they go."""
        folder = self._folder(digest)
        async with self._proving:
            if not folder.is_dir():
                return None
            os.utime(folder)  # so that no other download makes it go while it is read
            if await asyncio.to_thread(content_digest, folder) == digest:
                return Downloaded(folder, digest)
            shutil.rmtree(folder)
            return None

    def _finish(self, partial: Path, digest: str) -> Downloaded:
        """Gives a complete download its name, which `_kept` has just found free.

        There is no await from there to here, so two downloads of one digest cannot meet.
        """
        folder = self._folder(digest)
        partial.rename(folder)
        self._prune()
        return Downloaded(folder, digest)

    def _folder(self, digest: str) -> Path:
        return self._root / digest.replace(":", "-")

    def _prune(self) -> None:
        """Removes the folders used longest ago. Models live in memory once loaded, so none of them is missed."""
        folders = sorted(self._root.glob("sha256-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for folder in folders[self._keep :]:
            shutil.rmtree(folder, ignore_errors=True)
