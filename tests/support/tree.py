"""Copies of this repository for tests that change it."""

import shutil
import subprocess
from pathlib import Path

from tests.support.helm import ROOT


def copy_tree(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Copy the working tree, including files that are not committed yet, without those that git ignores.

    Args:
        folder: Target; it is created if it does not exist.
        without: Beginnings of paths to leave out.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        # To git, a link is a file, also if it leads to a folder.
        there = (ROOT / name).is_file() or (ROOT / name).is_symlink()
        if there and not name.startswith(without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
