"""Folders for tests: copies of whole folders, and folders that other users can read."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def copied(source: Path, target: Path) -> Path:
    """Copy a whole folder to `target`, which must not exist yet, and return `target`.

    Links stay links. Most tests of a repository begin with a copy, and cp takes about a third less CPU time than
    shutil.copytree.
    """
    subprocess.run(["cp", "-R", source, target], check=True, timeout=60)
    return target


@contextlib.contextmanager
def open_to_all(name: str) -> Iterator[Path]:
    """Yield a new folder that every user may read, and remove it at the end. A database needs one if tests run as root.

    pytest's own folders cannot be used: each start of pytest removes the rights of other users from them.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder
