"""Copies of this repository for tests that change one."""

import shutil
import subprocess
from pathlib import Path

from tests.support.helm import ROOT


def copy_tree(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Copy what stands in the working tree, whether it is committed yet or not, and nothing that git ignores.

    Args:
        folder: Where to; it is made where it is not there.
        without: Beginnings of paths to leave out.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        # A link is a file to git, wherever it leads.
        there = (ROOT / name).is_file() or (ROOT / name).is_symlink()
        if there and not name.startswith(without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
