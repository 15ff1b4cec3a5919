"""The parts of the code that get faults: their files, and the tests that should find the faults (parts.yaml)."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).with_name("parts.yaml")
# Files that tests of all parts use.
_SHARED = ("conftest.py", "pyproject.toml", "requirements/dev.txt", "tests/support/**/*.py", "packages/**/*.py")


class UnknownPartError(ValueError):
    """There is no part of that name, or its patterns match no file."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A package, and where its tests are. Paths are relative to the root of the repository."""

    name: str
    source: str
    tests: tuple[str, ...]
    modules: tuple[str, ...] = ("**/*.py",)

    def files(self, root: Path) -> list[str]:
        """Return the files that get faults, sorted, relative to `root`.

        Raises:
            UnknownPartError: a pattern matches no file.
        """
        found: set[Path] = set()
        for pattern in self.modules:
            matching = set((root / self.source).glob(pattern))
            if not matching:
                message = f"{PARTS.name}: part {self.name}: modules: nothing in {self.source} matches {pattern}"
                raise UnknownPartError(message)
            found |= matching
        return sorted(file.relative_to(root).as_posix() for file in found)

    def digest(self, root: Path) -> str:
        """Return a digest of everything that decides which tests run which lines."""
        patterns = [f"{folder}/**/*" for folder in (Path(self.source).parent.as_posix(), *self.tests)]
        files = {file for pattern in (*patterns, *_SHARED) for file in root.glob(pattern) if file.is_file()}
        total = sha256()
        for file in sorted(files):
            if "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(root).as_posix()}\0".encode())
                total.update(sha256(file.read_bytes()).digest())
        return total.hexdigest()


def parts(names: Sequence[str] = ()) -> list[Part]:
    """Return the parts with these names, or all parts.

    Raises:
        UnknownPartError: no part has one of the names.
    """
    known = msgspec.yaml.decode(PARTS.read_bytes(), type=list[Part])
    missing = [name for name in names if name not in {part.name for part in known}]
    if missing:
        have = ", ".join(part.name for part in known)
        raise UnknownPartError(f"there is no part {missing[0]}; {PARTS.name} has {have}")
    return [part for part in known if not names or part.name in names]
