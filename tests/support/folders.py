"""Folders for tests: copies of a whole one, and those that other users can reach."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def copied(source: Path, target: Path) -> Path:
    """Copy a folder with all that is in it to `target`, which is not there yet, and return that.

    Links stay links. When it was measured, cp took about a third less processor time than shutil.copytree, and most
    tests of a repository begin with a copy of it.
    """
    subprocess.run(["cp", "-R", source, target], check=True, timeout=60)
    return target


@contextlib.contextmanager
def open_to_all(name: str) -> Iterator[Path]:
    """Make a folder that every user may read, as a database needs where tests run as root, and remove it in the end.

    pytest's own folders are no place for that: whenever another run of pytest begins, it closes them to other users.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder
