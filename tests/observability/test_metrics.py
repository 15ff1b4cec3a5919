"""Rules and dashboards use only metrics that something exports, and all metrics of serving are documented.

Prometheus itself parses every expression, and returns the metrics in it.
"""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.observability import sources
from tests.observability.conftest import Observed
from tests.observability.content import ROOT, Query, alerts, queries, rules, selectors
from tests.observability.promtool import Prometheus
from tests.support import helm

ASKED = [
    *queries(),
    *selectors(),
    *(Query(f"{rule.file}: {rule.alert or rule.record}", rule.expr) for rule in rules()),
]
ALERTS, METRICS = ROOT / "docs" / "alerts.md", ROOT / "docs" / "metrics.md"
LISTS = (ROOT / "services" / "serving" / "README.md", METRICS)


def documented() -> dict[str, set[str]]:
    """Return the metrics in the tables of the documentation, and the labels of each."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in LISTS)
    rows = re.findall(r"^\| `(\w+)` \| \w+ \|(.*?)\|", text, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.place)
def test_uses_metrics_that_something_exports(query: Query, observed: Observed) -> None:
    asked = observed.prometheus.metrics_of(query.expr())
    assert asked
    assert asked - sources.known(sources.in_text(observed.serving_metrics)) == set()


def test_an_invalid_expression_is_refused(prometheus: Prometheus) -> None:
    with pytest.raises(ValueError, match="parse error"):
        prometheus.metrics_of("rate(serving_requests_total[5m]")


def test_every_listed_metric_is_used(prometheus: Prometheus) -> None:
    """The list of metrics from elsewhere contains only metrics that are used, so that it can be kept correct."""
    asked = {metric for query in ASKED for metric in prometheus.metrics_of(query.expr())}
    assert sources.elsewhere() - asked == set()


def test_recordings_are_used(prometheus: Prometheus) -> None:
    asked = {metric for query in ASKED for metric in prometheus.metrics_of(query.expr())}
    assert {rule.record for rule in rules() if rule.record} - asked == set()


def test_mlflow_exports_the_listed_metrics(observed: Observed) -> None:
    assert sources.MLFLOW - sources.in_text(observed.mlflow_metrics) == set()


def test_objectives_and_canaries_count_every_route_of_predictions(observed: Observed) -> None:
    asked = observed.posted - {"/explain", "/feedback"}
    assert {"/predict", "/invocations", "/v2/models/{model_name}/infer"} < asked
    canary = helm.template("model-serving", helm.CHARTS / "model-serving" / "ci" / "7-canary.yaml")
    assert canary.code == 0, canary.errors
    texts = [canary.output, *(rule.expr for rule in rules())]
    judged = {pattern for text in texts for pattern in re.findall(r'route=~\\?"([^"\\]+)', text)}
    assert judged
    for pattern in judged:
        assert {path for path in asked if not re.fullmatch(pattern, path)} == set(), pattern


def test_every_metric_of_serving_is_documented(observed: Observed) -> None:
    ours = {name for name in sources.in_text(observed.serving_metrics) if name.startswith("serving_")}
    assert sources.families(ours) - set(documented()) == set()


def test_labels_of_serving_are_the_documented_ones(observed: Observed) -> None:
    shown: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(observed.serving_metrics):
        for sample in family.samples:
            (name,) = sources.families({sample.name})
            if name.startswith("serving_"):
                shown.setdefault(name, set()).update(set(sample.labels) - {"le"})
    assert shown
    assert shown == {name: documented().get(name) for name in shown}


def test_every_recording_and_alert_is_documented() -> None:
    text = ALERTS.read_text(encoding="utf-8")
    assert [rule.alert for rule in alerts() if f"[{rule.alert}](runbooks/{rule.alert}.md)" not in text] == []
    text = METRICS.read_text(encoding="utf-8")
    shapes = {re.sub(r"rate\w+$", "rate", rule.record) for rule in rules() if rule.record}
    assert [shape for shape in sorted(shapes) if f"`{shape}" not in text] == []
