"""A stopped MLflow and a release that cannot be served fire their alerts, which end with the problems.

No critical alert fires, and callers notice nothing.
"""

import time

from tests.e2e.charts.stack import told
from tests.e2e.kube import together
from tests.e2e.monitoring.monitoring import Alert, Monitoring
from tests.e2e.monitoring.pipeline import Pipeline
from tests.e2e.pods import Script
from tests.e2e.report import Report
from tests.observability.content import rules

_HEADING = "Alerts"
_WANTED = {"MlflowDown", "ServingVersionDiffers"}
_CONSEQUENCES = {"ServingModelLoadFailing"}
"""Alerts that may also fire while a release cannot be served."""
_OURS = {rule.alert for rule in rules() if rule.alert}
"""kube-prometheus-stack has its own alerts about every namespace."""
_NO_MODELS_DIGEST = f"sha256:{64 * '0'}"
# Both alerts wait five minutes before they fire. MLflow's is evaluated in steps of a minute.
_FIRE_SECONDS = 480
_END_SECONDS = 180


def test_mlflow_stops_and_a_bad_release_is_made(pipeline: Pipeline, monitoring: Monitoring, callers: Script) -> None:
    """The release pins a digest that the version's files do not have, so its pods do not become ready."""
    stack = pipeline.stack
    # The alert measures the time since MLflow last answered, in steps of a minute.
    answered = f'max_over_time(up{{job="mlflow", namespace="{stack.platform}"}}[1h:1m]) == 1'
    with monitoring.asked() as prometheus:
        stack.kube.wait(
            "Prometheus remembers that MLflow answered",
            lambda: prometheus.query(answered),
            seconds=150,
            namespace=stack.platform,
        )
    bad = pipeline.serving_release(stack.registry().version("1"), _NO_MODELS_DIGEST)

    together(lambda: pipeline.scale_mlflow(0), lambda: stack.helm.install(bad, wait=False))

    assert stack.ready_pods() >= 2
    assert stack.predict()["prediction"]["model_version"] == "1"


def test_both_are_reported_without_a_critical_alert(pipeline: Pipeline, monitoring: Monitoring, report: Report) -> None:
    begun = time.monotonic()
    seen: dict[str, tuple[float, Alert]] = {}

    with monitoring.alerted() as alerts:

        def both_fire() -> bool:
            for alert in filter(_is_ours, alerts.firing(pipeline.namespaces)):
                seen.setdefault(f"{alert.name}/{alert.severity}", (time.monotonic() - begun, alert))
            return {alert.name for _, alert in seen.values()} >= _WANTED

        pipeline.stack.kube.wait(
            "both alerts reach Alertmanager", both_fire, seconds=_FIRE_SECONDS, namespace=pipeline.stack.serving
        )

    rows = [(alert.name, alert.severity, f"{after:.0f} s") for after, alert in seen.values()]
    report.table(_HEADING, [("in Alertmanager", "severity", "after the problems began"), *rows])
    assert {alert.severity for _, alert in seen.values()} == {"warning"}
    assert {alert.name for _, alert in seen.values()} <= _WANTED | _CONSEQUENCES


def test_both_end_with_the_problems(pipeline: Pipeline, monitoring: Monitoring, report: Report) -> None:
    stack = pipeline.stack
    pipeline.scale_mlflow(1)
    stack.helm.install(pipeline.serving_release(stack.registry().version("1")))
    begun = time.monotonic()

    with monitoring.alerted() as alerts:
        stack.kube.wait(
            "both alerts have ended",
            lambda: not _WANTED & {alert.name for alert in alerts.firing(pipeline.namespaces)},
            seconds=_END_SECONDS,
            namespace=stack.serving,
        )

    report.add(_HEADING, "", f"Both had ended {time.monotonic() - begun:.0f} s after the problems were fixed.")


def test_callers_noticed_nothing(pipeline: Pipeline, callers: Script, report: Report) -> None:
    pipeline.stack.runner.stop(callers)
    answer = pipeline.stack.runner.answer(callers)

    report.add("Callers, all the while", told(answer))
    assert answer["dropped"] == 0, answer["errors"]
    assert set(answer["versions"]) == {"1"}


def _is_ours(alert: Alert) -> bool:
    return alert.name in _OURS
