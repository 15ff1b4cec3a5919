"""More versions that a canary stops, and faults during a canary: slow or failing code, no controller, no Prometheus.

These take longer than all other tests of canaries, so only `make e2e-canary` runs them.
"""

import time

import pytest

from tests.e2e.argocd import canaries, prometheus, rollouts
from tests.e2e.argocd.canaries import ALIAS, FIRST, PASSED, RATE, REVERTED_AFTER, RIGHT, SECOND, SMOKE, VALUES, Canaries
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.rollouts import RolloutState
from tests.e2e.faulty.sitecustomize import FAILING_ONE_IN
from tests.e2e.report import Report

# A slow answer blocks its worker. With this many, the load keeps its rate.
_WORKERS = 40
_AWAY_SECONDS = 20
# Longer than one step: without a judgement, the share must not grow.
_UNWATCHED_SECONDS = 60


def test_a_slow_version_is_stopped_and_watch_rolls_it_back(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    good, production = canary.version(), canary.production
    canary.image(pipeline.images.serving_slow, good)
    canary.unheld()
    old = canary.state()
    with pipeline.load(production, rate=RATE, workers=_WORKERS) as results:
        canary.promoted()
        canary.stopped(old)
    status = canary.status()
    assert "aborted: latency" in status
    report.add("Requests", f"- a slow version, stopped: {results[0]}")
    report.add(
        "Canary",
        f"- {canaries.compared(results[0].slow, 'slow', RATE * REVERTED_AFTER)}",
        f"- gitops status: {status}",
    )
    assert results[0].dropped == 0, results[0].errors
    _taken_back(pipeline, report, canary, ("watch",), "latency")


def test_a_version_that_fails_some_requests_is_stopped_and_rolled_back(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    good, production = canary.version(), canary.production
    canary.image(pipeline.images.serving_failing, good)
    canary.unheld()
    old = canary.state()
    with pipeline.load(production, rate=RATE) as results:
        canary.promoted()
        canary.stopped(old)
    status = canary.status()
    assert "aborted: errors" in status
    failed = results[0].dropped
    assert [error for error in results[0].errors if "500" not in error] == []
    report.add("Requests", f"- a version that fails one in {FAILING_ONE_IN}, stopped: {results[0]}")
    report.add(
        "Canary",
        f"- {canaries.compared(failed, 'failed', RATE * REVERTED_AFTER // FAILING_ONE_IN)}",
        f"- gitops status: {status}",
    )
    _taken_back(pipeline, report, canary, ("rollback", "--aborted"), "errors")
    # The environment that feeds production gets the image without a fault again.
    canary.bumped(f"--image={pipeline.images.serving.pin}")


def _taken_back(pipeline: Pipeline, report: Report, canary: Canaries, command: tuple[str, ...], reason: str) -> None:
    """Check that git returns to the earlier pins, with a hold that says why, and that Argo CD syncs by itself."""
    good = canary.version()
    with pipeline.load(canary.production, rate=RATE) as results:
        commit = canary.taken_back(*command)
    pins = pipeline.pins(canary.production)
    assert (pins["image"]["digest"], pins["model"]["version"]) == (pipeline.images.serving.digest, good)
    assert reason in str(pins["release"]["hold"])
    assert pipeline.images_of(canary.production) == {pipeline.images.serving.digest}
    report.add("Canary", f"- gitops {' '.join(command)}: commit {commit[:7]} holds it: {pins['release']['hold']}")
    report.add("Requests", f"- its rollback by gitops {' '.join(command)}: {results[0]}")
    assert (results[0].dropped, set(results[0].predictions)) == (0, {RIGHT}), results[0].errors


def _begun_anew(pipeline: Pipeline, canary: Canaries, name: str) -> RolloutState:
    """Begin a canary with pods that differ only in an annotation, and wait until its first share is judged."""
    old = canary.state()
    pipeline.fork.edit(VALUES, lambda values: values.update(podAnnotations={"pipeline/attempt": name}))
    pipeline.fork.commit(f"Begin a canary: {name}")
    pipeline.look_at_git()
    begun = canary.begun(old)
    canary.wait_analysis(begun.wanted, FIRST)
    return begun


def _ended(pipeline: Pipeline, canary: Canaries, begun: RolloutState) -> None:
    """Wait until it reaches all pods, and check that every share was judged."""
    ended = canary.wait("the canary ends", lambda now: now.phase in {"Healthy", "Degraded"}, seconds=400)
    found = rollouts.analyses(pipeline.kube, canary.production, begun.wanted)
    assert (ended.phase, ended.stable) == ("Healthy", begun.wanted), (found, canary.status())
    assert found == dict.fromkeys((SMOKE, FIRST, SECOND, ALIAS), PASSED)


def test_a_killed_controller_costs_no_request_and_continues(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    with pipeline.load(canary.production, rate=RATE) as results:
        begun = _begun_anew(pipeline, canary, "killed-controller")
        rollouts.kill(pipeline.kube)
        time.sleep(_AWAY_SECONDS)
        assert len(pipeline.ready_names(canary.production)) > 1, "the pods keep answering"
        rollouts.restart(pipeline.kube)
        _ended(pipeline, canary, begun)
    report.add(
        "Requests", f"- the controller killed for {_AWAY_SECONDS} s amid a canary, which then ended: {results[0]}"
    )
    assert results[0].dropped == 0, results[0].errors


def test_without_prometheus_nothing_is_judged_and_the_share_stays(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    if "monitoring" not in pipeline.without:
        report.add("Left out", "- Prometheus down during a canary: these tests must not stop the cluster's own")
        pytest.skip("the cluster has its own Prometheus")
    with pipeline.load(canary.production, rate=RATE) as results:
        begun = _begun_anew(pipeline, canary, "no-prometheus")
        prometheus.stop(pipeline.kube)
        stopped = time.monotonic()
        status = pipeline.kube.wait(
            "gitops status says that nothing is measured",
            lambda: said if "Prometheus gives no answer" in (said := canary.status()) else None,
            seconds=120,
            namespace=canary.production.namespace,
            names=("none",),
        )
        time.sleep(max(0.0, _UNWATCHED_SECONDS - (time.monotonic() - stopped)))
        found = canary.state()
        assert (found.stable, found.wanted, found.aborted) == (begun.stable, begun.wanted, False)
        judged = rollouts.analyses(pipeline.kube, canary.production, begun.wanted)
        assert judged == {SMOKE: PASSED, FIRST: "Running"}, "the share was judged without Prometheus"
        image = pipeline.images.prometheus
        assert image
        prometheus.start(pipeline.kube, image)
        _ended(pipeline, canary, begun)
    report.add("Canary", f"- without Prometheus for {_UNWATCHED_SECONDS} s the share stayed: {status}")
    report.add("Requests", f"- a canary without Prometheus for a while: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
