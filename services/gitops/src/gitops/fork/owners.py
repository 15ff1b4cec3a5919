"""CODEOWNERS: who owns a path, and the lines of services and environments."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

FILE = Path(".github/CODEOWNERS")
_SERVICES = "/envs/*/"
_WIDTH = 25


def owners_of(text: str, path: str) -> list[str]:
    """Who must agree to a change of a file: the owners on the last line whose pattern takes it."""
    owners: list[str] = []
    for pattern, names in _lines(text):
        if _expression(pattern).match(path):
            owners = names
    return owners


def patterns_of_service(name: str) -> list[str]:
    """What belongs to a service's owner."""
    return [f"{_SERVICES}{name}/", f"/models/{name}/"]


def pattern_of_environment(name: str) -> str:
    """What belongs to the owners of an environment."""
    return f"/envs/{name}/"


def with_service(text: str, name: str, owner: str) -> str:
    """The file with the lines of a service at its end, where they win over all before.

    Lines without an owner stay the last: what they name is nobody's, whichever service it is of.
    """
    there = {pattern for pattern, _ in _lines(text)}
    new = [_line(pattern, [owner]) for pattern in patterns_of_service(name) if pattern not in there]
    lines = text.splitlines()
    place = len(lines)
    while place and len(lines[place - 1].partition("#")[0].split()) == 1:
        place -= 1
    return _joined([*lines[:place], *new, *lines[place:]])


def with_environment(text: str, name: str, owners: Sequence[str]) -> str:
    """The file with the line of an environment, ahead of the lines of services: their owners win over it."""
    pattern, lines = pattern_of_environment(name), text.splitlines()
    if any(pattern == known for known, _ in _lines(text)):
        return text
    place = next((number for number, line in enumerate(lines) if line.startswith(_SERVICES)), len(lines))
    return _joined([*lines[:place], _line(pattern, owners), *lines[place:]])


def without(text: str, patterns: Iterable[str]) -> str:
    """The file without the lines of some patterns."""
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
    """As git reads patterns of ignored files: a slash at the beginning or inside ties it to the root."""
    body = pattern.strip("/")
    begin = "" if pattern.startswith("/") or "/" in body else r"(.*/)?"
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", body)
    stars = {"**/": r"(.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    inner = "".join(stars.get(part, re.escape(part)) for part in parts)
    # One star at the end takes files of the folder and not of those below it, as GitHub says.
    end = r"/.*$" if pattern.endswith("/") else (r"$" if body.endswith("/*") else r"(/.*)?$")
    return re.compile(f"^{begin}{inner}{end}")
