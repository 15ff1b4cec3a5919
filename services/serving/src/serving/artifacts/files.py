"""The local folder of downloaded model versions, each verified by its digest."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from modelformat.digest import CURRENT, OLD_RULE, UnusableNameError, content_digest, is_digest, rule_of
from serving.artifacts.base import ArtifactStore, download
from serving.artifacts.locks import in_use, own_folder, remove_unused
from serving.errors import DigestMismatchError, ModelUnusableError, StoreUnavailableError
from serving.spans import NO_SPANS, Spans

logger = logging.getLogger(__name__)

_PARTIAL = ".partial-"


class Downloaded(msgspec.Struct, frozen=True):
    """The local files of a version, and their computed digest."""

    folder: Path
    digest: str

    @property
    def bytes(self) -> int:
        """The size of the files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*"))


class ModelFiles:
    """Downloads each version into a folder of `root` named after its digest, and keeps the `keep` that were used last.

    `stores` returns the store for each scheme of addresses, and is called only when it is needed. A version may have
    `max_bytes`, and must arrive within `seconds`. Each download is a span.

    A folder gets its final name only when it is complete, so it can be used again after a restart.
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
            remove_unused(leftover)

    async def get(self, uri: str, expected: str | None) -> Downloaded:
        """Return the files stored at `uri`. Download them unless they are here already.

        Raises:
            DigestMismatchError: if `expected` is given and is not their digest.
            ModelUnusableError: if the files cannot be used (see `download`).
            StoreUnavailableError: if the store does not answer, or the files cannot be written.
        """
        if expected and not is_digest(expected):
            # The name of a folder contains the digest, so an invalid digest could lead out of MODEL_DIR.
            raise DigestMismatchError(f"the digest that its files must have, {expected[:80]!r}, is not valid")
        if expected and rule_of(expected) != CURRENT:
            told = {"digest": expected, "reason": OLD_RULE}
            logger.warning("a version has a digest of the old kind", extra=told)
        try:
            if expected and (kept := await self._kept(expected)):
                return kept
            return await self._downloaded(uri, expected)
        except OSError as error:
            raise StoreUnavailableError(f"its files cannot be kept in MODEL_DIR ({error.strerror})") from error

    @contextlib.contextmanager
    def in_use(self, version: Downloaded) -> Iterator[None]:
        """Keep other processes that share MODEL_DIR from removing the files of a version.

        Raises:
            StoreUnavailableError: if another process has just removed them.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(in_use(version.folder))
            except OSError as error:
                raise StoreUnavailableError(f"its files are gone from MODEL_DIR ({error.strerror})") from error
            yield

    async def _downloaded(self, uri: str, expected: str | None) -> Downloaded:
        with own_folder(self._root, _PARTIAL) as partial:
            try:
                with self._spans.span("download model", {"model.uri": uri}):
                    async with asyncio.timeout(self._seconds):
                        await download(self._store(uri), uri, partial, self._max_bytes)
            except TimeoutError:
                raise StoreUnavailableError(f"its files did not arrive within {self._seconds:g} s") from None
            digest = await _digest(partial, expected)
            if expected and digest != expected:
                raise DigestMismatchError(f"its files have digest {digest}, but {expected} is expected")
            # Another version may have the same files, and may be about to read them.
            if kept := await self._kept(digest):
                return kept
            try:
                return self._finish(partial, digest)
            except OSError:
                # Another process may have been faster.
                if kept := await self._kept(digest):
                    return kept
                raise

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
        """Return the local files if they still have that digest. Remove them if they do not."""
        folder = self._folder(digest)
        async with self._proving:
            if not folder.is_dir():
                return None
            os.utime(folder)  # so that no other download removes it while it is read
            if await _digest(folder, digest) == digest:
                return Downloaded(folder, digest)
            shutil.rmtree(folder)
            return None

    def _finish(self, partial: Path, digest: str) -> Downloaded:
        """Rename a complete download to its final name, which `_kept` has just found free.

        There is no await in between, so two downloads with the same digest cannot conflict.
        """
        folder = self._folder(digest)
        partial.rename(folder)
        self._prune()
        return Downloaded(folder, digest)

    def _folder(self, digest: str) -> Path:
        return self._root / digest.replace(":", "-")

    def _prune(self) -> None:
        """Remove the folders that were used longest ago. Loaded models are in memory and do not need them."""
        folders = sorted(self._root.glob("sha256*-*"), key=_last_use, reverse=True)
        for folder in folders[self._keep :]:
            remove_unused(folder)


async def _digest(folder: Path, expected: str | None) -> str:
    """Compute the digest of a folder by the rule of the expected digest."""
    rule = rule_of(expected) if expected else CURRENT
    try:
        return await asyncio.to_thread(content_digest, folder, rule)
    except UnusableNameError as error:
        raise ModelUnusableError(str(error)) from None


def _last_use(folder: Path) -> float:
    """Return when a folder was used last, or 0 if another process has just removed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
