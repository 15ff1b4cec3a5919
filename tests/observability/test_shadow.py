"""`gitops promote` and `gitops status` read the metrics of a shadow, from a real service and a real Prometheus."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from gitops.cluster.comparison import Watch, comparison
from gitops.cluster.prometheus import Prometheus as Asked
from gitops.pins.release import Shadow
from gitops.platform.model import Environment, Service
from gitops.platform.targets import Target
from services.gitops.tests.conftest import DIGEST
from tests.integration.serving_fixtures import wait_for
from tests.observability.promtool import Prometheus


def test_the_comparison_is_what_the_service_counts(prometheus: Prometheus) -> None:
    wait_for(lambda: prometheus.value("sum(serving_shadow_rows_total)") > 0)
    (rows, *_) = prometheus.query("serving_shadow_rows_total")
    target = Target(
        environment=Environment(name="here", namespace="here"), service=Service(name="serving-here", model="any")
    )
    shadow = Shadow(version=rows.labels["shadow"], digest=DIGEST, uri="s3://mlflow/any")
    since = datetime.now(UTC) - timedelta(minutes=20)
    with httpx.Client(base_url=prometheus.url, trust_env=False) as client:
        found = comparison(Asked(client), Watch(target=target, shadow=shadow, since=since))

    counted = {
        sample.labels["outcome"]: sample.value
        for sample in prometheus.query("sum by (outcome) (serving_shadow_rows_total)")
    }
    assert {name: getattr(found.rows, name) for name in counted} == counted
    assert found.rows.judged > 0
    assert (found.ready, found.pods) == (1, 1)
    answers = prometheus.value("sum(serving_shadow_answers_total)")
    assert answers == found.rows.agreed + found.rows.differed
    assert sum(pair.rows for pair in found.differing) == found.rows.differed
    assert found.psi == pytest.approx(prometheus.value("serving_shadow_psi"))
    known = (found.seconds.p50, found.shadow_seconds.p50, found.shadow_seconds.p95, found.difference.p95)
    assert all(value is not None and value >= 0 for value in known), found
