"""Rules and dashboards show what happened: with a real service and Prometheus, their values are the load's counts."""

from bisect import bisect_left
from typing import Any

import pytest

from tests.integration.serving_fixtures import wait_for
from tests.observability import load, sources
from tests.observability.conftest import SCRIPT, Observed
from tests.observability.content import Query, alerts, queries, rules
from tests.observability.promtool import Prometheus

WINDOW_SECONDS = 300


def panel(title: str, part: str = "") -> str:
    """Return the query with this part of a panel on the dashboard Serving, for predictions only."""
    (expr,) = [
        query.expr(route="/predict") for query in queries() if query.place == f"serving: {title}" and part in query.text
    ]
    return expr


def recorded(name: str, prometheus: Prometheus) -> float:
    """Evaluate a recording rule now."""
    (rule,) = [rule for rule in rules() if rule.record == name]
    return prometheus.value(rule.expr)


def test_the_script_went_as_written(observed: Observed) -> None:
    assert {answer.status for answer in observed.answers} == set(load.STATUSES.values())
    assert all(answer.status == load.STATUSES[answer.kind] for answer in observed.answers)


def test_request_rate(observed: Observed, prometheus: Prometheus) -> None:
    counted = recorded("serving:requests:rate5m", prometheus) * WINDOW_SECONDS
    assert counted == pytest.approx(len(observed.answers), rel=0.05)


def test_error_ratio(observed: Observed, prometheus: Prometheus) -> None:
    wait_for(lambda: bool(prometheus.query("serving:requests:rate5m > 0")))
    ratio = load.statuses(observed.answers)[503] / len(observed.answers)
    assert recorded("serving:requests_failed:ratio_rate5m", prometheus) == pytest.approx(ratio, rel=0.05)


def test_slow_ratio(observed: Observed, prometheus: Prometheus) -> None:
    answers = len(observed.answers)
    made = SCRIPT["slow"] / answers
    seen = sum(answer.seconds > 0.1 for answer in observed.answers) / answers
    # Only the caller measures the time that an answer spends in transit, so it counts more slow answers on a busy
    # machine.
    assert 0 < made < seen
    assert made * 0.95 <= recorded("serving:requests_slow:ratio_rate5m", prometheus) <= seen * 1.05


def test_requests_by_status_are_those_that_were_answered(observed: Observed, prometheus: Prometheus) -> None:
    shown = {
        sample.labels["status"]: sample.value * WINDOW_SECONDS
        for sample in prometheus.query(panel("Requests by status"))
    }
    counted = {str(status): count for status, count in load.statuses(observed.answers).items()}
    assert shown == pytest.approx(counted, rel=0.05)


def test_p99_is_within_a_bucket(observed: Observed, prometheus: Prometheus) -> None:
    buckets = prometheus.query('serving_request_duration_seconds_bucket{route="/predict"}')
    bounds = sorted(float(bucket.labels["le"]) for bucket in buckets)
    shown = prometheus.value(panel("Latency", "quantile(0.99"))
    seen = load.quantile(observed.answers, 0.99)
    assert abs(bisect_left(bounds, shown) - bisect_left(bounds, seen)) <= 1, f"{shown} s, and the load saw {seen} s"


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    wait_for(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
    unwell: list[Any] = [rule for rule in prometheus.rules() if rule["health"] != "ok"]
    assert unwell == []
    assert len(prometheus.rules()) == len(rules())


def test_errors_and_slow_answers_fire_only_their_alerts(prometheus: Prometheus) -> None:
    burning = {"ServingErrorBudgetBurn", "ServingLatencyBudgetBurn"}

    def firing() -> set[str]:
        return {sample.labels["alertname"] for sample in prometheus.query('ALERTS{alertstate="firing"}')}

    wait_for(lambda: firing() >= burning)
    assert firing() == burning


def test_two_models_of_different_versions_are_neither_mixed_nor_missed(prometheus: Prometheus) -> None:
    versions = {sample.labels["name"]: sample.labels["version"] for sample in prometheus.query("serving_model_info")}
    assert sorted(versions.values()) == ["1", "2"]
    assert prometheus.query('ALERTS{alertname=~"ServingVersion.*"}') == []  # also not pending


def test_rows_are_counted_by_model(observed: Observed) -> None:
    shown = observed.prometheus.query(panel("Rows by version"))
    assert {(sample.labels["model_name"], sample.labels["model_version"]) for sample in shown} == {
        (observed.model, "1"),
        (observed.further_model, "2"),
    }


def drifted(alert: str, observed: Observed, at: float | None = None) -> set[tuple[str, str]]:
    """Return the models and features that an alert is about. The feature is empty for predictions.

    The alert's waiting time does not count.
    """
    (rule,) = [rule for rule in alerts() if rule.alert == alert]
    found = (sample.labels for sample in observed.prometheus.query(rule.expr, at))
    return {(labels["model_name"], labels.get("feature", "")) for labels in found}


def test_held_out_rows_do_not_count_as_drift(observed: Observed) -> None:
    at = observed.held_out_seen
    enough = "serving_input_psi and on (instance, model_name) serving_drift_window_rows >= 500"
    assert len(observed.prometheus.query(enough, at)) == 8
    assert drifted("ModelInputDrift", observed, at) == set()
    assert drifted("ModelPredictionDrift", observed, at) == set()


def test_the_same_row_again_and_again_is_drift_of_that_model_only(observed: Observed) -> None:
    inputs = drifted("ModelInputDrift", observed)
    assert inputs >= {(observed.model, "petal length (cm)"), (observed.model, "petal width (cm)")}
    assert {model for model, _ in inputs} == {observed.model}
    assert drifted("ModelPredictionDrift", observed) == {(observed.model, "")}


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.place)
def test_a_panel_whose_metrics_exist_here_shows_something(query: Query, observed: Observed) -> None:
    """Panels with metrics that this stack does not have must still evaluate."""
    prometheus, expr = observed.prometheus, query.expr()
    asked = prometheus.metrics_of(expr)
    shown = prometheus.query(expr) or prometheus.query(expr, at=observed.mlflow_seen)
    if asked <= prometheus.metrics() - sources.PROMETHEUS:
        assert shown


def test_only_metrics_that_do_not_exist_here_are_not_shown(prometheus: Prometheus) -> None:
    assert sources.known(set()) - prometheus.metrics() <= sources.elsewhere()
