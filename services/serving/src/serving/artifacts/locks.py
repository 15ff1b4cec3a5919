"""Folders that several processes share: a user holds a lock on it, which ends with the process.

Where a file system knows no locks, nobody is known to use anything: give each process a folder of its own there.
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
    """Makes a folder that no other process removes meanwhile; on the way out it goes, unless it was renamed."""
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
            # Somebody may take it for a leftover before the lock is there.
            with contextlib.suppress(FileNotFoundError):
                if _is_at(stack.enter_context(_locked(folder, fcntl.LOCK_EX)), folder):
                    break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keeps other processes from removing a folder.

    Raises:
        FileNotFoundError: when it is gone.
    """
    with _locked(folder, fcntl.LOCK_SH) as descriptor:
        if not _is_at(descriptor, folder):
            raise FileNotFoundError(errno.ENOENT, "another process has removed it")
        yield


def remove_unused(folder: Path) -> None:
    """Removes a folder, unless some process uses it."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[int]:
    """Locks a folder, and gives its descriptor.

    Raises:
        FileNotFoundError: when there is none.
        BlockingIOError: when another process has locked it, and this one will not wait.
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
    """Whether a folder that was opened is still there under its name."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
