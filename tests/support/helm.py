"""Helm 4 and its companions, as tools/install puts them into .cache/tools/bin."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
# What a release is called where it matters, for the addresses that other parts know.
RELEASES = {"model-serving": ("serving-staging", "ml-pipeline-staging")}


class Outcome(NamedTuple):
    """How a program ended and what it said."""

    code: int
    output: str
    errors: str


def run(program: str, *arguments: str | Path) -> Outcome:
    """Run one of the programs; FileNotFoundError, with the way out, where it is not there."""
    path = ROOT / ".cache" / "tools" / "bin" / program
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run tools/install")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


def charts() -> list[str]:
    """Return the names of all charts that can be installed; libraries are none."""
    found = CHARTS.glob("*/Chart.yaml")
    return sorted(path.parent.name for path in found if "\ntype: library\n" not in path.read_text(encoding="utf-8"))


def scenarios(chart: str) -> list[Path]:
    """Return the chart's ci/*.yaml, in order; the first is the least that it needs."""
    return sorted((CHARTS / chart / "ci").glob("*.yaml"))


def template(chart: str, *values: Path, release: str | None = None, namespace: str | None = None) -> Outcome:
    """Render a chart as `helm template` does, under the release name and namespace that it usually has."""
    usual_release, usual_namespace = RELEASES.get(chart, (chart, "ml-pipeline"))
    files = [argument for path in values for argument in ("--values", path)]
    where = ("--namespace", namespace or usual_namespace)
    return run("helm", "template", release or usual_release, CHARTS / chart, *where, *files)
