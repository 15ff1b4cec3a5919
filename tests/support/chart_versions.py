"""Find charts that changed since their last release without a new version."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

# .helmignore keeps these out of the package.
UNPACKED = ("ci", "tests", "README.md.gotmpl")


def stale_versions(repository: Path) -> Iterator[str]:
    """Yield a sentence for each chart under charts/ that differs from its last tag and is not newer than it.

    A library that is linked into a chart is a part of it.

    A chart's last tag is the nearest one before HEAD named CHART-* or v*. Without a tag, nothing was released.
    """
    for path in sorted(repository.glob("charts/*/Chart.yaml")):
        chart = path.parent.name
        tag = _last_tag(repository, chart)
        if not tag or not _changed(repository, chart, tag):
            continue
        released = _git(repository, "show", f"{tag}:charts/{chart}/Chart.yaml")
        if released is None:
            continue
        before, now = _version(released), _version(path.read_text(encoding="utf-8"))
        if _order(now) <= _order(before):
            yield f"charts/{chart} changed since {tag}: raise version in Chart.yaml, which is {now}, above {before}"


def _last_tag(repository: Path, chart: str) -> str:
    found = _git(repository, "describe", "--tags", "--abbrev=0", "--match", f"{chart}-[0-9]*", "--match", "v[0-9]*")
    return (found or "").strip()


def _changed(repository: Path, chart: str, tag: str) -> bool:
    linked = [path.resolve() for path in (repository / "charts" / chart / "charts").glob("*") if path.is_symlink()]
    libraries = [path.relative_to(repository.resolve()) for path in linked]
    paths = (f"charts/{chart}", *map(str, libraries), *(f":(exclude)charts/{chart}/{name}" for name in UNPACKED))
    listed = (
        _git(repository, "diff", "--name-only", tag, "--", *paths),
        _git(repository, "ls-files", "--others", "--exclude-standard", "--", *paths),
    )
    return any(listed)


def _git(repository: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _version(chart: str) -> str:
    return str(yaml.safe_load(chart)["version"])


def _order(version: str) -> tuple[int, ...]:
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if not match:
        raise ValueError(f"a chart's version must be MAJOR.MINOR.PATCH, and this is {version}")
    return tuple(int(part) for part in match.groups())
