"""The places of input files and of answers: a local folder, or a bucket."""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from serving.artifacts.locks import own_folder, remove_unused
from serving.batch.errors import FileError, InputChangedError
from serving.batch.files import is_table

if TYPE_CHECKING:
    from serving.batch.s3 import S3Place

_WILD = re.compile(r"[*?\[]")
_PARTIAL = ".scoring-"
# A file that was just written may change again without a new time, because file systems have coarse clocks.
_FRESH_SECONDS = 10.0


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The identity of a file's content: its SHA-256, or in a bucket its ETag."""

    bytes: int
    sha256: str = ""
    etag: str = ""


class Found(msgspec.Struct, frozen=True):
    """A file: its name below its place, and its full address."""

    name: str
    address: str


class Taken(msgspec.Struct, frozen=True):
    """A file that is being read: its path, its identity, and a check that it is still the same.

    `check` raises `InputChangedError`.
    """

    path: Path
    identity: Identity
    check: Callable[[], None]


class Place(Protocol):
    """A local folder, or one in a bucket.

    All methods raise `FileError` for problems with one file, and `StoreUnavailableError` if the store does not answer.
    """

    @property
    def address(self) -> str:
        """The address of the folder."""
        ...

    def find(self) -> Iterator[str]:
        """Yield the names of all files below it."""
        ...

    def identity(self, name: str) -> Identity:
        """Return the current identity of a file."""
        ...

    def take(self, name: str) -> AbstractContextManager[Taken]:
        """Open a file for reading."""
        ...

    def room(self) -> AbstractContextManager[Path]:
        """Return a folder for incomplete files, which is removed at the end."""
        ...

    def publish(self, path: Path, name: str) -> Identity:
        """Move a complete file from there to its name, atomically."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, None if it does not exist."""
        ...

    def bytes(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        ...


class Pattern(msgspec.Struct, frozen=True):
    """Which files of a place to read: the place, and a pattern for each part of their names below it."""

    root: str
    parts: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Return whether a file matches, by its name below the root."""
        return _alike(tuple(name.split("/")), self.parts)


def pattern(address: str, *, folder: bool) -> Pattern:
    """Parse an address in which `*`, `?` and `[...]` match parts of a name, and `**` matches folders.

    Args:
        address: A file, a pattern, or a folder, which means the files of rows directly in it.
        folder: Whether it is a folder.
    """
    if folder:
        return Pattern(address.rstrip("/") or "/", ("*",))
    parts = address.split("/")
    fixed = next((at for at, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
    root = "/".join(parts[:fixed])
    return Pattern(root or ("/" if address.startswith("/") else ""), tuple(parts[fixed:]))


def _alike(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    if not parts or not names:
        return not names and (not parts or parts == ("**",))
    if parts[0] == "**" and _alike(names, parts[1:]):
        return True
    # Hidden files match only a pattern that begins with a dot.
    if names[0].startswith(".") and not parts[0].startswith("."):
        return False
    if parts[0] == "**":
        return _alike(names[1:], parts)
    return fnmatchcase(names[0], parts[0]) and _alike(names[1:], parts[1:])


def matching(place: Place, wanted: Pattern) -> list[Found]:
    """List the matching files of rows, sorted by name."""
    names = sorted(name for name in place.find() if wanted.takes(name) and is_table(name))
    return [Found(name, f"{place.address}/{name}") for name in names]


class FolderPlace:
    """A local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The path."""
        return str(self._folder)

    def find(self) -> Iterator[str]:
        """Yield the names of all files below it, except in hidden folders."""
        for path, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(path, name).relative_to(self._folder).as_posix() for name in files)

    def identity(self, name: str) -> Identity:
        """Compute the SHA-256 of a file."""
        return _identity(self._folder / name)

    @contextmanager
    def take(self, name: str) -> Iterator[Taken]:
        """Yield the path of a file. Other processes may write to it meanwhile."""
        path = self._folder / name
        begun, identity = _stamp(path), _identity(path)
        fresh = abs(time.time() - begun[1] / 1e9) < _FRESH_SECONDS

        def check() -> None:
            if _stamp(path) != begun or (fresh and _identity(path) != identity):
                raise InputChangedError("it changed while it was read; score it again when its writer has finished")

        yield Taken(path, identity, check)

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Create a hidden folder next to the files, so that files can be renamed from it, and remove leftovers."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.glob(f"{_PARTIAL}*"):
                remove_unused(leftover)
            with own_folder(self._folder, _PARTIAL) as folder:
                yield folder
        except OSError as error:
            raise FileError(f"nothing can be written to {self.address} ({error.strerror})") from error

    def publish(self, path: Path, name: str) -> Identity:
        """Rename a file after it is synced to the disk."""
        identity, target = _identity(path), self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        return identity

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def bytes(self, name: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        (self._folder / name).unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InputChangedError(f"it no longer exists ({error.strerror})") from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _identity(path: Path) -> Identity:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Identity(file.tell(), sha256=digest)
    except OSError as error:
        raise FileError(f"it cannot be read ({error.strerror})") from error


@contextmanager
def temporary() -> Iterator[Path]:
    """Yield a local folder for files that come from a bucket or go there."""
    with tempfile.TemporaryDirectory(prefix=_PARTIAL) as folder:
        yield Path(folder)


class Places(msgspec.Struct, frozen=True):
    """Opens addresses: local folders, and with `bucket` those that begin with s3://."""

    bucket: "Callable[[str], S3Place]"

    def open(self, address: str) -> Place:
        """Return the place at a folder's address."""
        if address.startswith("s3://"):
            return self.bucket(address)
        return FolderPlace(Path(address.removeprefix("file://") or "."))

    def is_folder(self, address: str) -> bool:
        """Return whether an address is that of a folder: it ends with a /, or is an existing local folder."""
        if address.endswith("/"):
            return True
        return not address.startswith("s3://") and Path(address.removeprefix("file://")).is_dir()
