"""Every rule of the chart is evaluated without an error, and every panel has data from what the pipeline exports."""

import yaml

from tests.e2e.monitoring.monitoring import Monitoring, RuleGroup
from tests.e2e.monitoring.panels import answers, lacking, table
from tests.e2e.monitoring.pipeline import Pipeline
from tests.e2e.pods import Script
from tests.e2e.report import Report
from tests.observability.content import RULES, queries

_LOADED_SECONDS = 180
_EVENTS = {
    # Counted from its first occurrence.
    "serving_registry_errors_total",
    "serving_requests_shed_total",
    "minio_s3_requests_4xx_errors_total",
    "minio_s3_requests_5xx_errors_total",
    # Exists while an alert is at least pending.
    "ALERTS",
}
"""Metrics that may be missing in a pipeline without problems."""


def test_every_rule_is_evaluated(pipeline: Pipeline, monitoring: Monitoring, report: Report) -> None:
    expected = {
        group["name"]: len(group["rules"])
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    }

    with monitoring.asked() as prometheus:

        def evaluated() -> list[RuleGroup] | None:
            groups = [group for group in prometheus.groups() if pipeline.stack.platform in group.file]
            complete = {group.name: len(group.rules) for group in groups} == expected
            return groups if complete and all(r.health != "unknown" for g in groups for r in g.rules) else None

        groups = pipeline.stack.kube.wait(
            "every rule group is loaded, and every rule evaluated",
            evaluated,
            seconds=_LOADED_SECONDS,
            namespace=pipeline.stack.platform,
            names=("none",),
        )

    rows = [(group.name, len(group.rules), "ok") for group in groups]
    report.table("Rule groups", [("group", "rules", "health"), *rows])
    assert [(rule.name, rule.last_error) for group in groups for rule in group.rules if rule.health != "ok"] == []


def test_every_panel_is_answered(pipeline: Pipeline, monitoring: Monitoring, callers: Script, report: Report) -> None:
    with monitoring.asked() as prometheus:
        pipeline.stack.kube.wait(
            "requests are recorded",
            lambda: prometheus.query(f'serving:requests:rate5m{{namespace="{pipeline.stack.serving}"}} > 0'),
            seconds=120,
            namespace=pipeline.stack.serving,
        )
        found, absent = answers(prometheus, queries()), lacking(prometheus)

    report.table("Queries of the dashboards", table(found))
    nothing = [answer for answer in found if not answer.series and not answer.lacks]
    report.add("Queries of the dashboards", "", "Nothing to show, without an error:")
    report.add("Queries of the dashboards", *(f"- {answer.query.place}" for answer in nothing))
    if absent:
        report.add(
            "Left out", f"- Panels and rules on what this cluster lacks ({', '.join(sorted(absent))}): promtool's"
        )
    allowed = {
        "kube-state-metrics",
        *([] if pipeline.exporter else ["postgres_exporter"]),
        *([] if pipeline.argocd else ["Argo CD"]),
    }
    assert absent <= allowed
    unknown = {answer.query.place: answer.missing - _EVENTS for answer in found if not answer.lacks}
    assert {place: names for place, names in unknown.items() if names} == {}
