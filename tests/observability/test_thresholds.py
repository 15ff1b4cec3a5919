"""Thresholds are defined once: the chart's values fill rules and dashboards, and the docs have the same numbers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.metrics import REQUEST_BUCKETS, Metrics
from tests.observability.content import CHART, PATTERNS, THRESHOLDS, dashboard, rules
from tests.observability.promtool import promtool
from tests.support import helm
from tests.support.manifests import parse
from tools.derived.alerts import Alert, alerts
from tools.derived.alerts import rules as alerting_rules
from tools.thresholds import named

SOURCES = [*PATTERNS, *sorted((CHART / "dashboards").glob("*.json"))]


def rendered(tmp_path: Path, thresholds: dict[str, Any]) -> helm.Outcome:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"thresholds": thresholds}), encoding="utf-8")
    return helm.template("observability", values)


def test_every_threshold_is_used_and_every_placeholder_is_one() -> None:
    used = {key for path in SOURCES for key in named(path.read_text(encoding="utf-8"))}
    assert used == {f"{group}.{name}" for group, values in THRESHOLDS.items() for name in values}


def test_other_values_reach_expressions_sentences_and_panels_and_prometheus_accepts_them(tmp_path: Path) -> None:
    changed = {
        "drift": {"maxPsi": 0.4, "minutes": 25},
        "slo": {"maxFailedRatio": 0.0005, "slowSeconds": 0.25},
        "platform": {"minFreeRatio": 0.15},
    }
    outcome = rendered(tmp_path, changed)
    assert outcome.code == 0, outcome.errors
    made = {m["metadata"]["name"]: m for m in parse(outcome.output)}
    serving = made["observability-serving"]["spec"]
    (drift,) = [
        rule for group in serving["groups"] for rule in group["rules"] if rule.get("alert") == "ModelInputDrift"
    ]
    assert drift["expr"].rstrip().endswith("> 0.4")
    assert drift["for"] == "25m"
    assert "limit 0.4" in drift["annotations"]["summary"]
    assert "above 0.4 for 25 minutes" in drift["annotations"]["description"]
    slo = yaml.safe_dump(made["observability-slo"]["spec"], width=1000)
    assert "14.4 * 0.0005" in slo
    assert re.search(r'le=\\?"0.25\\?"', slo)
    assert "0.05 % may" in slo
    assert "15 %" in yaml.safe_dump(made["observability-platform"]["spec"], width=1000)
    model = json.loads(made["observability-dashboard-model"]["data"]["model.json"])
    (panel,) = [panel for panel in model["panels"] if panel["title"] == "Input drift by feature"]
    assert [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None, 0.1, 0.4]
    for name in ("serving", "slo", "platform", "delivery"):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(made[f"observability-{name}"]["spec"]), encoding="utf-8")
        checked = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
        assert checked.code == 0, checked.output + checked.errors


def test_a_limit_without_a_bucket_in_the_histogram_is_refused(tmp_path: Path) -> None:
    outcome = rendered(tmp_path, {"slo": {"slowSeconds": 0.2}})
    assert outcome.code != 0
    (said,) = re.findall(r"thresholds.slo.slowSeconds must be .*, but is 0.2. They are (.*)\.", outcome.errors)
    assert [float(bound) for bound in said.split(", ")] == list(REQUEST_BUCKETS)


@pytest.mark.parametrize("seconds", [0.25, 1, 2.5, 10])
def test_the_limit_names_a_bucket_as_the_server_does(seconds: float, tmp_path: Path) -> None:
    """With another spelling, such as 1 for 1.0, Prometheus finds no bucket, and the alerts never fire."""
    outcome = rendered(tmp_path, {"slo": {"slowSeconds": seconds}})
    assert outcome.code == 0, outcome.errors
    asked = set(re.findall(r'duration_seconds_bucket\{[^}]*le="([^"]+)"', outcome.output.replace('\\"', '"')))
    metrics = Metrics()
    metrics.answered("/predict", "POST", "200", 0.01)
    counted = set(re.findall(r'duration_seconds_bucket\{[^}]*le="([^"]+)"', metrics.text().decode()))
    assert len(asked) == 1
    assert asked <= counted


def test_panels_take_colours_from_the_same_limits_as_alerts() -> None:
    serving, model = dashboard(CHART / "dashboards" / "serving.json"), dashboard(CHART / "dashboards" / "model.json")
    for content, key in ((serving, "slo.maxFailedRatio"), (serving, "slo.slowSeconds"), (model, "drift.maxPsi")):
        assert f'"value": "${{{key}}}"' in json.dumps(content)
    assert any(f"14.4 * {THRESHOLDS['slo']['maxFailedRatio']}" in rule.expr for rule in rules())


@pytest.mark.parametrize("alert", alerts(CHART), ids=lambda alert: alert.name)
def test_an_alert_says_with_which_thresholds_it_fires(alert: Alert) -> None:
    """The table in the docs is written from these sentences. The objectives have a section of their own."""
    used = {key for name, pattern in alerting_rules(CHART) if name == alert.name for key in named(pattern)}
    assert {key for key in used if not key.startswith("slo.")} - named(alert.fires_when) == set()
