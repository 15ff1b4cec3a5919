"""The changes of a release: CHANGELOG.md, the version of every part, and both versions of every chart.

The images of a release have its version as a tag, and a chart's appVersion is the tag unless the values name another.
So each release changes every chart, and a changed chart needs a new version (tests/support/chart_versions.py): all
charts get the version of the release.
"""

import re
import tomllib
from datetime import date
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_UNRELEASED = "## [Unreleased]"


class ReleaseError(Exception):
    """The release is not possible; the message names the file and a remedy."""


def cut(root: Path, version: str, day: date) -> dict[Path, str]:
    """Return every file that a release changes, by its path relative to the root, with its new text.

    Args:
        root: The repository. Nothing is written.
        version: Such as 1.2.3.
        day: The date of the release.

    Raises:
        ReleaseError: The version is invalid or lower, or there is nothing to release.
    """
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION is {version!r}, but must be three numbers, as in: make release VERSION=1.2.3")
    changed = {CHANGELOG: _changelog(_read(root, CHANGELOG), version, day)}
    for path in _projects(root):
        changed[path] = _raised(path, _read(root, path), r'^version = "([^"]*)"$', version)
    for chart in sorted([*root.glob("charts/*/Chart.yaml"), root / "apps" / "Chart.yaml"]):
        path = chart.relative_to(root)
        text = _raised(path, _read(root, path), r"^version: (\S+)$", version)
        changed[path] = re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, flags=re.MULTILINE)
    return changed


def _projects(root: Path) -> list[Path]:
    project = tomllib.loads(_read(root, Path("pyproject.toml")))
    members = project["tool"]["uv"]["workspace"]["members"]
    return [Path("pyproject.toml"), *(Path(member) / "pyproject.toml" for member in members)]


def _changelog(text: str, version: str, day: date) -> str:
    heading = f"## [{version}]"
    lines = text.splitlines()
    if any(line.startswith(heading) for line in lines):
        raise ReleaseError(f"{CHANGELOG} already has a section {heading}: use the next version")
    if _UNRELEASED not in lines:
        raise ReleaseError(f"{CHANGELOG} has no line {_UNRELEASED!r}: put it above the changes of the release")
    place = lines.index(_UNRELEASED)
    after = lines[place + 1 :]
    end = next((number for number, line in enumerate(after) if line.startswith("## ")), len(after))
    if not any(line.strip() for line in after[:end]):
        raise ReleaseError(f"{CHANGELOG} has nothing below {_UNRELEASED!r}: write down the changes of the release")
    section = [_UNRELEASED, "", f"{heading} - {day.isoformat()}"]
    return "\n".join([*lines[:place], *section, *after]) + "\n"


def _raised(path: Path, text: str, pattern: str, version: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    if len(found) != 1:
        raise ReleaseError(f"{path} has {len(found)} lines with its version, but needs exactly one")
    if not _VERSION.fullmatch(found[0]):
        raise ReleaseError(f"{path} is version {found[0]!r}, which is not three numbers: fix it first")
    if _order(found[0]) > _order(version):
        raise ReleaseError(f"{path} is version {found[0]}, above {version}: use a higher version")
    return re.sub(pattern, lambda match: match[0].replace(match[1], version), text, flags=re.MULTILINE)


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _read(root: Path, path: Path) -> str:
    try:
        return (root / path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReleaseError(f"{path} does not exist: run this in the repository") from error
