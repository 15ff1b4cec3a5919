"""Files that a program writes from other files: write those that differ, or only name them."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path


def write(wanted: Mapping[Path, str], *, check: bool, command: str, surplus: Iterable[Path] = ()) -> int:
    """Write the files whose content differs, and delete others.

    Args:
        wanted: The content that each file should have.
        check: Change nothing, and print the names of the files that would change.
        command: The command that writes them, for that message.
        surplus: Files that should not exist.

    Returns:
        The exit code: 1 if `check` found a difference.
    """
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    surplus = list(surplus)
    if check:
        for path in (*stale, *surplus):
            print(f"{path} is stale: run {command}", file=sys.stderr)
        return 1 if stale or surplus else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    for path in surplus:
        path.unlink()
    return 0
