"""Folders that other users can reach, which a database needs where tests run as root."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_to_all(name: str) -> Iterator[Path]:
    """Make a folder that every user may read, and remove it in the end.

    pytest's own folders are no place for that: whenever another run of pytest begins, it closes them to other users.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder
