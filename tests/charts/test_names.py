"""Charts make valid objects for every release name that Helm accepts, and for every name in their values."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import helm, schemas
from tests.support.manifests import Manifest, parse
from tests.support.pod_rules import labelled, named
from tests.support.set_rules import own_pods, served_pods, unique

RELEASES = [
    *("r" * length for length in (42, 43, 44, 45, 52, 53)),
    "a-release-with-a-dash-where-its-name-is-cut-to-fit-in",
    f"{'1' * 52}a",
    "eu.prod",
    "2024-pilot",
    "2024.mlflow",
    "4711",
    "1e3",
    "0x10",
    "true",
    "null",
    "y",
]
# YAML reads each of these words as something other than text.
WORDS = ["123", "1e3", "true", "on", "null", "0x10", "1_000", "010", "2026-11-28"]


def faults(manifests: list[Manifest]) -> list[str]:
    alone = [found for m in manifests for version in schemas.VERSIONS for found in schemas.problems(m, version)]
    alone += [found for manifest in manifests for rule in (named, labelled) for found in rule(manifest)]
    return alone + [found for rule in (unique, own_pods, served_pods) for found in rule(manifests)]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("chart", helm.charts())
def test_a_release_of_any_name_is_valid(chart: str, release: str) -> None:
    for scenario in helm.scenarios(chart)[:2]:
        outcome = helm.template(chart, scenario, release=release)
        assert outcome.code == 0, outcome.errors
        assert faults(parse(outcome.output)) == []


def leaves(values: Any, schema: Any, root: Any, kind: type = str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the schema of each text in the values, or of each value of another kind."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, value in values.items():
        inner = schema.get("properties", {}).get(key)
        if isinstance(value, dict) and inner is not None:
            yield from (((key, *path), found) for path, found in leaves(value, inner, root, kind))
        elif isinstance(value, kind) and not isinstance(value, bool) and inner is not None:
            yield (key,), inner


def set_where_valid(chart: str, value: str | int) -> dict[str, Any]:
    """Return values of a chart where every value of the same kind is replaced by this one, if the schema allows it."""
    folder = helm.CHARTS / chart
    schema = json.loads((folder / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((folder / "values.yaml").read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    for path, inner in leaves(defaults, schema, schema, type(value)):
        # Other tests check that the schema's refusal is a readable sentence.
        if jsonschema.Draft202012Validator({**inner, "$defs": schema.get("$defs", {})}).is_valid(value):
            place = values
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = value
    return values


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("chart", helm.charts())
def test_text_stays_text(chart: str, word: str, tmp_path: Path) -> None:
    values = set_where_valid(chart, word)
    values.pop("fullnameOverride", None)
    values.get("ca", {}).pop("existingSecret", None)
    # This value is the text of a file, so a single word is not valid.
    values.pop("training", None)
    assert values
    file = tmp_path / "values.yaml"
    # Written as JSON, whose quotes are unambiguous: PyYAML and Helm disagree about 1e3.
    file.write_text(json.dumps(values), encoding="utf-8")
    # The second scenario sets the values that others require, such as a pin.
    outcome = helm.template(chart, helm.scenarios(chart)[1], file)
    assert outcome.code == 0, outcome.errors
    assert faults(parse(outcome.output)) == []


# Thirty days in seconds. Helm writes a number of seven digits as 2.592e+06, which the API server refuses.
MANY = 2_592_000


@pytest.mark.parametrize("chart", helm.charts())
def test_whole_numbers_stay_whole(chart: str, tmp_path: Path) -> None:
    values = set_where_valid(chart, MANY)
    if chart == "model-serving":
        # The chart requires this relation between the two values.
        values["rollout"]["progressDeadlineSeconds"] = MANY + 1
        values["apiKeys"] = {"existingSecret": "api-keys"}
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    for scenario in helm.scenarios(chart)[1:]:
        outcome = helm.template(chart, scenario, file)
        assert outcome.code == 0, outcome.errors
        assert re.findall(r".*\b\d(?:\.\d+)?e\+\d+.*", outcome.output) == []
        assert faults(parse(outcome.output)) == []
