"""Every chart lints, renders, is valid, follows the policy, and is documented.

Helm 4 renders each scenario (ci/*.yaml) of each chart. Kubernetes' own schemas, of the oldest supported version and the
newest, and the rules in tests/support then check the result.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart_versions, helm, policy, schemas
from tests.support.manifests import Manifest, name_of, parse

CHARTS = helm.charts()
# Values that Helm adds to a chart that has or is a subchart.
BY_HELM = {"common", "enabled", "global"}
SCENARIOS = [pytest.param(chart, path, id=f"{chart}-{path.stem}") for chart in CHARTS for path in helm.scenarios(chart)]


@cache
def rendered(chart: str, scenario: Path) -> str:
    outcome = helm.template(chart, scenario)
    assert outcome.code == 0, outcome.errors
    return outcome.output


@pytest.mark.parametrize("chart", CHARTS)
def test_lints(chart: str) -> None:
    files = [argument for path in helm.scenarios(chart)[:1] for argument in ("--values", path)]
    outcome = helm.run("helm", "lint", "--strict", "--quiet", helm.CHARTS / chart, *files)
    assert outcome.code == 0, outcome.output + outcome.errors


@pytest.mark.parametrize("chart", CHARTS)
def test_has_scenarios(chart: str) -> None:
    assert helm.scenarios(chart)


@pytest.mark.parametrize(("chart", "scenario"), SCENARIOS)
def test_renders_the_same_bytes_again(chart: str, scenario: Path) -> None:
    assert helm.template(chart, scenario, again=True).output == rendered(chart, scenario)


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize(("chart", "scenario"), SCENARIOS)
def test_is_valid(chart: str, scenario: Path, version: str) -> None:
    manifests = parse(rendered(chart, scenario))
    assert [problem for manifest in manifests for problem in schemas.problems(manifest, version)] == []


@pytest.mark.parametrize(("chart", "scenario"), SCENARIOS)
def test_follows_the_policy(chart: str, scenario: Path) -> None:
    assert policy.violations(parse(rendered(chart, scenario))) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_follows_the_policy_under_the_longest_name(chart: str) -> None:
    outcome = helm.template(chart, helm.scenarios(chart)[0], release=f"{'r' * 52}1")
    assert policy.violations(parse(outcome.output)) == []
    assert outcome.code == 0, outcome.errors


@pytest.mark.parametrize(("chart", "scenario"), SCENARIOS)
def test_has_one_kind_a_file(chart: str, scenario: Path) -> None:
    kinds: dict[str, set[str]] = {}
    for document in rendered(chart, scenario).split("\n---\n"):
        source = re.search(r"^# Source: (.+)$", document, re.MULTILINE)
        for manifest in parse(document):
            assert source, f"{name_of(manifest)} comes from no file"
            kinds.setdefault(source.group(1), set()).add(manifest["kind"])
    assert {file: found for file, found in kinds.items() if len(found) > 1} == {}


@pytest.mark.parametrize("chart", CHARTS)
def test_every_template_is_rendered_by_some_scenario(chart: str) -> None:
    folder = helm.CHARTS / chart / "templates"
    sources = {
        source
        for path in helm.scenarios(chart)
        for source in re.findall(r"^# Source: (.+)$", rendered(chart, path), re.MULTILINE)
    }
    there = {f"{chart}/templates/{path.relative_to(folder)}" for path in folder.rglob("*.yaml")}
    assert there - sources == set()


@pytest.mark.parametrize("chart", CHARTS)
def test_every_template_has_a_suite(chart: str) -> None:
    folder = helm.CHARTS / chart
    suites = " ".join(path.read_text(encoding="utf-8") for path in (folder / "tests").glob("*_test.yaml"))
    templates = [path.relative_to(folder / "templates") for path in (folder / "templates").rglob("*.yaml")]
    assert [str(path) for path in templates if str(path) not in suites] == []


@pytest.mark.parametrize("chart", CHARTS)
def test_suites_pass(chart: str) -> None:
    outcome = helm.run("helm-unittest", "--strict", helm.CHARTS / chart)
    assert outcome.code == 0, outcome.output + outcome.errors


@pytest.mark.parametrize("chart", CHARTS)
def test_readme_is_what_helm_docs_writes(chart: str) -> None:
    command = [str(helm.ROOT / "tools" / "chart-docs"), "--check", chart]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chart", CHARTS)
def test_every_value_is_explained(chart: str) -> None:
    readme = (helm.CHARTS / chart / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| \w+ \|.*\| (.*) \|$", readme, re.MULTILINE)
    assert rows
    assert [key for key, explanation in rows if not explanation.strip()] == []


@pytest.mark.parametrize("chart", CHARTS)
def test_schema_is_closed_and_described(chart: str) -> None:
    schema = json.loads((helm.CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    open_objects = [path for path, node in objects(schema, "") if node.get("additionalProperties") is not False]
    assert open_objects == []
    undescribed = [
        f"{path}.{name}"
        for path, node in objects(schema, "")
        for name, property_ in node["properties"].items()
        if "description" not in property_
    ]
    assert undescribed == []


def objects(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema that lists properties. Conditions are left out, because they need not be closed."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
            for name, property_ in schema["properties"].items():
                yield from objects(property_, f"{path}.{name}")
        for name, definition in schema.get("$defs", {}).items():
            yield from objects(definition, f"#/$defs/{name}")
        if "items" in schema:
            yield from objects(schema["items"], f"{path}[]")


@pytest.mark.parametrize("chart", CHARTS)
def test_schema_and_values_name_the_same_keys(chart: str) -> None:
    schema = json.loads((helm.CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((helm.CHARTS / chart / "values.yaml").read_text(encoding="utf-8"))
    assert sorted(set(schema["properties"]) - BY_HELM) == sorted(values)


@pytest.mark.parametrize("chart", CHARTS)
def test_chart_file(chart: str) -> None:
    about: Manifest = yaml.safe_load((helm.CHARTS / chart / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["apiVersion"] == "v2"
    assert about["name"] == chart
    assert about["kubeVersion"] == f">={schemas.OLDEST}.0-0"


def test_versions_were_raised_with_the_charts() -> None:
    assert list(chart_versions.stale_versions(helm.ROOT)) == []
