"""Copies of the repository in which files are changed, so that the working tree is never changed."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# Helm and the other tools are too large to copy, and tests only run them.
_LINKED = Path(".cache/tools")
_SECONDS = 120.0


class Tree:
    """A copy of the repository, with every file that git tracks or would add."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self._times = count(1_000_000_000)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=source, check=True, capture_output=True, text=True, timeout=_SECONDS,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            # git also lists files that are removed but whose removal is not committed.
            if (source / name).is_symlink() or (source / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, folder / name, follow_symlinks=False)
        (source / _LINKED).mkdir(parents=True, exist_ok=True)
        (folder / _LINKED).parent.mkdir(parents=True, exist_ok=True)
        (folder / _LINKED).symlink_to(source / _LINKED)
        # Tests that call git on the repository must find this one.
        for arguments in (
            ("init", "--quiet", "--template="),
            ("add", "--all"),
            ("commit", "--quiet", "--message", "copy"),
        ):
            subprocess.run(
                ["git", "-c", "user.name=mutants", "-c", "user.email=mutants@example.com", *arguments],
                cwd=folder, check=True, capture_output=True, timeout=_SECONDS,
            )  # fmt: skip

    @contextlib.contextmanager
    def changed(self, module: str, source: str) -> Iterator[None]:
        """Replace a file's content inside the block.

        Args:
            module: The file's path, relative to the root of the repository.
            source: The content.
        """
        file = self.folder / module
        before = file.read_text(encoding="utf-8")
        self._write(file, source)
        try:
            yield
        finally:
            self._write(file, before)

    def _write(self, file: Path, source: str) -> None:
        """Write a file with a new modification time, because Python reuses bytecode if time and size are unchanged."""
        file.write_text(source, encoding="utf-8")
        moment = next(self._times)
        os.utime(file, (moment, moment))
