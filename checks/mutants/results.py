"""The results of mutants, kept in a file so that a run can continue where the last one ended."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

Fate = Literal["killed", "survived", "timed out", "not run"]
"""Not run: no test runs the changed line."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a mutant: `by` is the test that failed first, `tests` the number of tests chosen."""

    key: str
    fate: Fate
    by: str = ""
    tests: int = 0
    seconds: float = 0.0


class Results:
    """The results for one kind of tests, in a file with one on each line; the last one of a mutant counts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Result] = {}
        if file.exists():
            for line in file.read_bytes().splitlines():
                # A run that was killed may leave an incomplete line at the end.
                try:
                    result = msgspec.json.decode(line, type=Result)
                except msgspec.DecodeError:
                    continue
                self._known[result.key] = result

    def get(self, key: str) -> Result | None:
        """Return the result of a mutant; None if there is none."""
        return self._known.get(key)

    def add(self, result: Result) -> None:
        """Add a result, also on disk."""
        self._known[result.key] = result
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as stream:
            stream.write(msgspec.json.encode(result) + b"\n")

    def forget(self, keys: Iterable[str]) -> None:
        """Ignore these results in this run."""
        for key in keys:
            self._known.pop(key, None)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove these results, also on disk."""
        self.forget(keys)
        written = self._file.with_suffix(".part")
        written.write_bytes(b"".join(msgspec.json.encode(result) + b"\n" for result in self._known.values()))
        written.replace(self._file)
