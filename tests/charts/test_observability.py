"""Proves that the alerts and dashboards ask for metrics that the serving API has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.metrics import Metrics
from tests.support import helm

CHART = helm.CHARTS / "observability"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
RULES = sorted((CHART / "rules").glob("*.yaml"))


def exported() -> set[str]:
    """Names as they are stored: `_total` of counters, `_bucket`, `_sum` and `_count` of histograms."""
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        f"{family.name}{ending}"
        for family in Metrics().registry.collect()
        for ending in endings.get(family.type, ())
        if family.name.startswith("serving_")
    }


def expressions(path: Path) -> Iterator[str]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.suffix == ".yaml":
        yield from (rule["expr"] for group in content["groups"] for rule in group["rules"])
        return
    yield from (target["expr"] for panel in content["panels"] for target in panel["targets"])
    yield from (variable["definition"] for variable in content["templating"]["list"] if "definition" in variable)


@pytest.mark.parametrize("path", [*RULES, *DASHBOARDS], ids=lambda path: path.name)
def test_asks_for_metrics_that_are_there(path: Path) -> None:
    asked = {name for expression in expressions(path) for name in re.findall(r"\bserving_\w+", expression)}
    assert asked
    assert asked - exported() == set()


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_alerts_say_what_is_wrong_and_how_bad_it_is(path: Path) -> None:
    rules = [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert {"summary", "description"} <= set(rule["annotations"]), rule["alert"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_take_any_data_source_and_have_each_panel_once(path: Path) -> None:
    dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert all(panel["title"] and panel["description"] for panel in panels)


def test_dashboards_have_identities_of_their_own() -> None:
    identities = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in DASHBOARDS]
    assert len(set(identities)) == len(identities)
