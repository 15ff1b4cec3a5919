"""Folders that several processes share: each user of a folder holds a lock, which ends with its process.

On a file system without locks, it is not known who uses a folder. Give each process a separate folder there.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def own_folder(root: Path, prefix: str) -> Iterator[Path]:
    """Create a folder that no other process removes. It is removed at the end, unless it was renamed."""
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
            # Another process may remove it as a leftover before it is locked.
            with contextlib.suppress(FileNotFoundError):
                if _is_at(stack.enter_context(_locked(folder, fcntl.LOCK_EX)), folder):
                    break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep other processes from removing a folder.

    Raises:
        FileNotFoundError: if it is gone.
    """
    with _locked(folder, fcntl.LOCK_SH) as descriptor:
        if not _is_at(descriptor, folder):
            raise FileNotFoundError(errno.ENOENT, "another process has removed it")
        yield


def remove_unused(folder: Path) -> None:
    """Remove a folder, unless a process uses it."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[int]:
    """Lock a folder, and yield its descriptor.

    Raises:
        FileNotFoundError: if it does not exist.
        BlockingIOError: if another process has locked it, and `how` says not to wait.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks
        yield descriptor
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, folder: Path) -> bool:
    """Return whether an opened folder still has its name."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
