"""What derives from other files is as `make derived` writes it, and what is stale is named and written again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helm import ROOT
from tools.derived.blocks import replaced, table

STALE = {
    "docs/alerts.md": "[ModelInputDrift]",
    "services/serving/README.md": "| `DRIFT_WINDOW_SECONDS` |",
    "services/gitops/README.md": "Usage: gitops adopt",
    "services/gitops/platform.schema.json": '"title"',
    "training/training.schema.json": '"title"',
    "apps/forges.yaml": "src/branch",
}


def derived(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.derived", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_file_is_fresh() -> None:
    done = derived("--check")
    assert done.returncode == 0, done.stderr


def test_each_stale_file_is_named_and_written_again(tmp_path: Path) -> None:
    for path in (*STALE, "charts/observability/values.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "charts/observability/rules", tmp_path / "charts/observability/rules")
    fresh = {path: (tmp_path / path).read_text(encoding="utf-8") for path in STALE}
    for path, text in STALE.items():
        assert text in fresh[path], path
        (tmp_path / path).write_text(fresh[path].replace(text, "other"), encoding="utf-8")
    checked = derived("--check", "--root", tmp_path)
    assert checked.returncode == 1
    assert {line.removesuffix(" is stale: run make derived") for line in checked.stderr.splitlines()} == {
        str(tmp_path / path) for path in STALE
    }
    assert derived("--root", tmp_path).returncode == 0
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in STALE} == fresh


def test_a_file_without_marks_is_refused() -> None:
    assert (
        replaced("<!-- a: begin -->\nold\n<!-- a: end -->", "a", "new") == "<!-- a: begin -->\n\nnew\n\n<!-- a: end -->"
    )
    with pytest.raises(ValueError, match=r"`<!-- b: begin -->` and `<!-- b: end -->` must be there once"):
        replaced("text", "b", "new")


def test_a_table_has_a_line_for_each_row() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
