"""Proves that `make release` cuts the changelog and raises every version, or changes nothing and says why."""

import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.workflows.workflow import ROOT
from tools.release.cut import ReleaseError, cut

_VERSION = "9.8.7"
_DAY = date(2026, 12, 1)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all files with a version, with something to release."""
    listed = subprocess.run(
        ["git", "ls-files", "CHANGELOG.md", "*pyproject.toml", "charts/*/Chart.yaml", "apps/Chart.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(
        changelog.read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- A thing.\n", 1)
    )
    return tmp_path


def command(root: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.release", version, "--root", str(root)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_every_version_is_the_releases(copy: Path) -> None:
    done = command(copy, _VERSION)
    assert done.returncode == 0, done.stderr
    projects = [tomllib.loads(path.read_text())["project"] for path in copy.rglob("pyproject.toml")]
    charts = [yaml.safe_load(path.read_text()) for path in copy.rglob("Chart.yaml")]
    assert {project["version"] for project in projects} == {_VERSION}
    assert {chart["version"] for chart in charts} == {_VERSION}
    # Library charts and apps/ have no image, and so no appVersion.
    assert {chart.get("appVersion", _VERSION) for chart in charts} == {_VERSION}
    assert len(projects) > 5
    assert len(charts) > 5


def test_the_unreleased_lines_become_the_section_that_is_published(copy: Path) -> None:
    cut_text = cut(copy, _VERSION, _DAY)[Path("CHANGELOG.md")]
    assert f"## [Unreleased]\n\n## [{_VERSION}] - 2026-12-01\n\n### Added\n\n- A thing.\n" in cut_text
    # The command of tools/publish-release that finds the section.
    (script,) = [line for line in (ROOT / "tools/publish-release").read_text().splitlines() if line.startswith("awk ")]
    program = script.partition("awk -v heading=")[2].partition("' <<<")[0].partition(" '")[2]
    notes = subprocess.run(
        ["awk", "-v", f"heading=## [{_VERSION}]", program], input=cut_text, capture_output=True, text=True, check=True
    ).stdout
    assert "- A thing." in notes
    assert "\n## [" not in notes


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("v1.2.3", "must be three numbers"),
        ("1.2", "must be three numbers"),
        ("0.0.1", "above 0.0.1: use a higher version"),
    ],
)
def test_an_invalid_or_lower_version_changes_nothing(copy: Path, version: str, said: str) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = command(copy, version)
    assert done.returncode == 2
    assert said in done.stderr
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- Old.\n", "nothing below"),
        ("# Changelog\n\n## [0.1.0] - 2026-01-01\n", "has no line '## [Unreleased]'"),
        (f"## [Unreleased]\n\n- New.\n\n## [{_VERSION}] - 2026-01-01\n", "use the next version"),
    ],
)
def test_a_changelog_that_has_nothing_to_release_is_named(copy: Path, changelog: str, said: str) -> None:
    (copy / "CHANGELOG.md").write_text(changelog)
    with pytest.raises(ReleaseError, match=r"CHANGELOG\.md") as caught:
        cut(copy, _VERSION, _DAY)
    assert said in str(caught.value)
