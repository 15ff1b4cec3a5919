"""Copies of the repository in which files are changed, so that the working tree never is."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# Helm and its like are too large to copy, and tests only run them.
_LINKED = Path(".cache/tools")
_SECONDS = 120.0


class Tree:
    """A copy of the repository, with every file that git knows or would take."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self._times = count(1_000_000_000)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=source, check=True, capture_output=True, text=True, timeout=_SECONDS,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            # A file that is removed but not yet committed is listed, too.
            if (source / name).is_symlink() or (source / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, folder / name, follow_symlinks=False)
        (source / _LINKED).mkdir(parents=True, exist_ok=True)
        (folder / _LINKED).parent.mkdir(parents=True, exist_ok=True)
        (folder / _LINKED).symlink_to(source / _LINKED)
        # Tests that ask git about the repository must find this one.
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
        """Give a file other content for a while.

        Args:
            module: The file, relative to the root of the repository.
            source: What it then contains.
        """
        file = self.folder / module
        before = file.read_text(encoding="utf-8")
        self._write(file, source)
        try:
            yield
        finally:
            self._write(file, before)

    def _write(self, file: Path, source: str) -> None:
        """Write a file with a time that it never had: Python reuses bytecode if time and size are the source's."""
        file.write_text(source, encoding="utf-8")
        moment = next(self._times)
        os.utime(file, (moment, moment))
