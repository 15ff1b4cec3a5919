"""Every chart works as a subchart: with `global`, `condition: CHART.enabled` and an alias."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support import helm, policy, schemas
from tests.support.manifests import parse

CHARTS = helm.charts()


def parent(folder: Path, dependencies: list[dict[str, str]], values: Mapping[str, object]) -> Path:
    """Make a chart that depends on charts of this repository, linked into it."""
    (folder / "charts").mkdir(parents=True)
    about = {"apiVersion": "v2", "name": "acme", "version": "1.0.0", "dependencies": dependencies}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    (folder / "values.yaml").write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
    for name in {dependency["name"] for dependency in dependencies}:
        (folder / "charts" / name).symlink_to(helm.CHARTS / name)
    return folder


def dependency(chart: str, alias: str = "") -> dict[str, str]:
    version = yaml.safe_load((helm.CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    return {
        "name": chart,
        "version": version,
        "condition": f"{alias or chart}.enabled",
        **({"alias": alias} if alias else {}),
    }


def defaults(chart: str) -> dict[str, object]:
    """Return the values that the chart requires."""
    least: dict[str, object] = yaml.safe_load(helm.scenarios(chart)[0].read_text(encoding="utf-8"))
    return least


def test_all_of_them_together(tmp_path: Path) -> None:
    values = {"global": {"team": "models"}, **{chart: {"enabled": True, **defaults(chart)} for chart in CHARTS}}
    folder = parent(tmp_path / "acme", [dependency(chart) for chart in CHARTS], values)
    outcome = helm.run("helm", "template", "acme", folder, "--namespace", "ml-pipeline")
    assert outcome.code == 0, outcome.errors
    manifests = parse(outcome.output)
    assert {m["metadata"]["labels"]["app.kubernetes.io/name"] for m in manifests} == set(CHARTS)
    assert policy.violations(manifests) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_one_that_is_switched_off(chart: str, tmp_path: Path) -> None:
    values = {other: {"enabled": other != chart, **defaults(other)} for other in CHARTS}
    folder = parent(tmp_path / "acme", [dependency(other) for other in CHARTS], values)
    outcome = helm.run("helm", "template", "acme", folder)
    assert outcome.code == 0, outcome.errors
    names = {m["metadata"]["labels"]["app.kubernetes.io/name"] for m in parse(outcome.output)}
    assert names == set(CHARTS) - {chart}


def test_one_of_them_twice(tmp_path: Path) -> None:
    aliases = ("iris", "wine_serving")
    folder = parent(tmp_path / "acme", [dependency("model-serving", alias) for alias in aliases], {})
    outcome = helm.run("helm", "template", "acme-serving", folder)
    assert outcome.code == 0, outcome.errors
    manifests = parse(outcome.output)
    assert [found for m in manifests for found in schemas.problems(m, schemas.OLDEST)] == []
    assert policy.violations(manifests) == []
    assert len([m for m in manifests if m["kind"] == "Deployment"]) == len(aliases)
