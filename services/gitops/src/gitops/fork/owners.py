"""CODEOWNERS: who owns a path, and the lines of services and environments."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

FILE = Path(".github/CODEOWNERS")
_SERVICES = "/envs/*/"
_WIDTH = 25


def owners_of(text: str, path: str) -> list[str]:
    """Return who must approve a change of a file: the owners on the last line whose pattern matches."""
    owners: list[str] = []
    for pattern, names in _lines(text):
        if _expression(pattern).match(path):
            owners = names
    return owners


def pattern_of_service(name: str) -> str:
    """Return the pattern of a service's files in all environments."""
    return f"{_SERVICES}{name}/"


def pattern_of_environment(name: str) -> str:
    """Return the pattern of the files of an environment's owners."""
    return f"/envs/{name}/"


def with_service(text: str, name: str, owner: str, folders: Iterable[Path] = ()) -> str:
    """Return the file with the lines of a service added at the end, where they take precedence.

    Lines without an owner stay last, so that they still apply to the files of every service.

    Args:
        text: The file.
        name: The service.
        owner: Its owner, who also owns `folders`.
        folders: The folders that train its model.
    """
    there = {pattern for pattern, _ in _lines(text)}
    patterns = [pattern_of_service(name), *(f"/{folder}/" for folder in folders)]
    new = [_line(pattern, [owner]) for pattern in patterns if pattern not in there]
    lines = text.splitlines()
    place = len(lines)
    while place and len(lines[place - 1].partition("#")[0].split()) == 1:
        place -= 1
    return _joined([*lines[:place], *new, *lines[place:]])


def with_environment(text: str, name: str, owners: Sequence[str]) -> str:
    """Return the file with the line of an environment, before the lines of services, which take precedence."""
    pattern, lines = pattern_of_environment(name), text.splitlines()
    if any(pattern == known for known, _ in _lines(text)):
        return text
    place = next((number for number, line in enumerate(lines) if line.startswith(_SERVICES)), len(lines))
    return _joined([*lines[:place], _line(pattern, owners), *lines[place:]])


def without(text: str, patterns: Iterable[str]) -> str:
    """Return the file without the lines of some patterns."""
    gone = set(patterns)
    return _joined([line for line in text.splitlines() if line.split()[:1] == [] or line.split()[0] not in gone])


def _lines(text: str) -> list[tuple[str, list[str]]]:
    words = [line.partition("#")[0].split() for line in text.splitlines()]
    return [(line[0], line[1:]) for line in words if line]


def _line(pattern: str, owners: Sequence[str]) -> str:
    return f"{pattern:<{_WIDTH}} {' '.join(owners)}".rstrip()


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _expression(pattern: str) -> re.Pattern[str]:
    """Translate a pattern of gitignore: a slash at the beginning or inside anchors it to the root."""
    body = pattern.strip("/")
    begin = "" if pattern.startswith("/") or "/" in body else r"(.*/)?"
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", body)
    stars = {"**/": r"(.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    inner = "".join(stars.get(part, re.escape(part)) for part in parts)
    # GitHub: one star at the end matches files of the folder, but not of its subfolders.
    end = r"/.*$" if pattern.endswith("/") else (r"$" if body.endswith("/*") else r"(/.*)?$")
    return re.compile(f"^{begin}{inner}{end}")
