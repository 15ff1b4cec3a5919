"""Where files of rows are found, and where answers are kept: a folder of this machine, or a bucket."""

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
# A file that was written in the last seconds may be written again without a later time: clocks of files are coarse.
_FRESH_SECONDS = 10.0


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which content a file has: by its SHA-256, or in a bucket by what the store calls it."""

    bytes: int
    sha256: str = ""
    etag: str = ""


class Found(msgspec.Struct, frozen=True):
    """A file: its name below its place, and its whole address."""

    name: str
    address: str


class Taken(msgspec.Struct, frozen=True):
    """A file that is being read: where, what it is, and what refuses it when it is not that any more.

    `check` raises `InputChangedError`.
    """

    path: Path
    identity: Identity
    check: Callable[[], None]


class Place(Protocol):
    """A folder, on this machine or in a bucket.

    All methods raise `FileError` for what concerns one file, and `StoreUnavailableError` when the store does not
    answer.
    """

    @property
    def address(self) -> str:
        """What it is called."""
        ...

    def find(self) -> Iterator[str]:
        """Gives the names of all files below."""
        ...

    def identity(self, name: str) -> Identity:
        """Tells which content a file has now."""
        ...

    def take(self, name: str) -> AbstractContextManager[Taken]:
        """Gives a file to be read."""
        ...

    def room(self) -> AbstractContextManager[Path]:
        """Gives a folder for what is not whole yet; all of it is gone afterwards."""
        ...

    def publish(self, path: Path, name: str) -> Identity:
        """Puts a whole file from there under its name, at once or not at all."""
        ...

    def read(self, name: str) -> bytes | None:
        """Gives a small file, if it is there."""
        ...

    def bytes(self, name: str) -> int | None:
        """Tells how large a file is, if it is there."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        ...


class Pattern(msgspec.Struct, frozen=True):
    """Which files of a place are meant: the place, and what the parts of their names are like below it."""

    root: str
    parts: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Whether a file is meant, by its name below the root."""
        return _alike(tuple(name.split("/")), self.parts)


def pattern(address: str, *, folder: bool) -> Pattern:
    """Reads an address in which `*`, `?` and `[...]` stand for parts of a name, and `**` for folders.

    Args:
        address: A file, such an address, or a folder, which means the files of rows right in it.
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
    # What is hidden is meant only by a name that says so.
    if names[0].startswith(".") and not parts[0].startswith("."):
        return False
    if parts[0] == "**":
        return _alike(names[1:], parts)
    return fnmatchcase(names[0], parts[0]) and _alike(names[1:], parts[1:])


def matching(place: Place, wanted: Pattern) -> list[Found]:
    """Lists the files of rows that are meant, by their names."""
    names = sorted(name for name in place.find() if wanted.takes(name) and is_table(name))
    return [Found(name, f"{place.address}/{name}") for name in names]


class FolderPlace:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The path."""
        return str(self._folder)

    def find(self) -> Iterator[str]:
        """Gives the names of all files below, but in hidden folders."""
        for path, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(path, name).relative_to(self._folder).as_posix() for name in files)

    def identity(self, name: str) -> Identity:
        """Reads a file for its SHA-256."""
        return _identity(self._folder / name)

    @contextmanager
    def take(self, name: str) -> Iterator[Taken]:
        """Gives a file where it is, which others may write to meanwhile."""
        path = self._folder / name
        begun, identity = _stamp(path), _identity(path)
        fresh = abs(time.time() - begun[1] / 1e9) < _FRESH_SECONDS

        def check() -> None:
            if _stamp(path) != begun or (fresh and _identity(path) != identity):
                raise InputChangedError("it changed while it was read; score it again when its writer has finished")

        yield Taken(path, identity, check)

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Makes a hidden folder next to the files, for files to be renamed later, and removes leftovers."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.glob(f"{_PARTIAL}*"):
                remove_unused(leftover)
            with own_folder(self._folder, _PARTIAL) as folder:
                yield folder
        except OSError as error:
            raise FileError(f"nothing can be written to {self.address} ({error.strerror})") from error

    def publish(self, path: Path, name: str) -> Identity:
        """Renames a file once it is on the disk."""
        identity, target = _identity(path), self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        return identity

    def read(self, name: str) -> bytes | None:
        """Gives a file, if it is there."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def bytes(self, name: str) -> int | None:
        """Tells how large a file is, if it is there."""
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
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
    """Gives a folder of this machine for what comes from a bucket or goes there."""
    with tempfile.TemporaryDirectory(prefix=_PARTIAL) as folder:
        yield Path(folder)


class Places(msgspec.Struct, frozen=True):
    """What opens addresses: folders, and with `bucket` those that begin with s3://."""

    bucket: "Callable[[str], S3Place]"

    def open(self, address: str) -> Place:
        """Gives the place of a folder's address."""
        if address.startswith("s3://"):
            return self.bucket(address)
        return FolderPlace(Path(address.removeprefix("file://") or "."))

    def is_folder(self, address: str) -> bool:
        """Whether an address is that of a folder: by the / at its end, or because it is one on this machine."""
        if address.endswith("/"):
            return True
        return not address.startswith("s3://") and Path(address.removeprefix("file://")).is_dir()
