"""Helm 4 and its companions, which tools/install puts into .cache/tools/bin."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
# Names and namespaces of releases whose address other parts know.
RELEASES = {"model-serving": ("serving-staging", "ml-pipeline-staging")}
RENDERED = "HELM_RENDERED"
"""The variable that names the folder in which the workers of a run share rendered charts."""


class Outcome(NamedTuple):
    """The exit code and the output of a program."""

    code: int
    output: str
    errors: str


def run(program: str, *arguments: str | Path) -> Outcome:
    """Run one of the programs. Raise FileNotFoundError, which says how to install it, if it is missing."""
    path = ROOT / ".cache" / "tools" / "bin" / program
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run tools/install")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


def charts() -> list[str]:
    """Return the names of all charts that can be installed, without libraries."""
    found = CHARTS.glob("*/Chart.yaml")
    return sorted(path.parent.name for path in found if "\ntype: library\n" not in path.read_text(encoding="utf-8"))


def scenarios(chart: str) -> list[Path]:
    """Return the chart's ci/*.yaml in order. The first one has the minimum of values."""
    return sorted((CHARTS / chart / "ci").glob("*.yaml"))


def template(
    chart: str, *values: Path, release: str | None = None, namespace: str | None = None, again: bool = False
) -> Outcome:
    """Render a chart as `helm template` does, with its usual release name and namespace.

    If another test of the same run has rendered the same files, return that output, unless `again` is set. Errors are
    never kept, because they may name files.
    """
    usual_release, usual_namespace = RELEASES.get(chart, (chart, "ml-pipeline"))
    files = [argument for path in values for argument in ("--values", path)]
    named = release or usual_release, "--namespace", namespace or usual_namespace
    folder = os.environ.get(RENDERED)
    kept = Path(folder) / _key(chart, named, values) if folder else None
    if kept and kept.exists() and not again:
        return Outcome(0, *json.loads(kept.read_text(encoding="utf-8")))
    outcome = run("helm", "template", named[0], CHARTS / chart, *named[1:], *files)
    if kept and outcome.code == 0:
        # Written in one step, so that other workers never see half of it.
        half = kept.with_name(f"{kept.name}.{os.getpid()}")
        half.write_text(json.dumps([outcome.output, outcome.errors]), encoding="utf-8")
        half.replace(kept)
    return outcome


def _key(chart: str, named: Sequence[str], values: Sequence[Path]) -> str:
    """Return the key of a rendering: the contents of its values, and the modification times of the chart's files."""
    key = hashlib.sha256(repr((chart, named, [path.read_bytes() for path in values])).encode())
    for place in (CHARTS / chart, CHARTS / "common"):
        for folder, _, names in os.walk(place):
            for name in sorted(names):
                file = Path(folder, name)
                about = file.stat()
                key.update(f"{file} {about.st_mtime_ns} {about.st_size}\n".encode())
    return key.hexdigest()
