"""Versions let in by degrees: a good one goes to all, a wrong one is taken back by itself, and git says why."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.argocd import rollouts
from tests.e2e.argocd.pipeline import LoadResult, Pipeline, described, save
from tests.e2e.argocd.places import PRODUCTION, STAGING, Place
from tests.e2e.argocd.rollouts import Standing
from tests.e2e.kube import CommandError
from tests.e2e.report import Report
from tests.e2e.story import REPORTS

RIGHT = "setosa"
"""What the row is that the load sends."""
SEED = 11
RATE = 20
REVERTED_AFTER = 15 * 60
"""Seconds that a wrong version answers everybody, where all pods are replaced at once and a person reverts."""
MODEL = "models/iris/training.yaml"
VALUES = "envs/production/iris/values.yaml"
# Steps of the Rollout, as the chart makes them of two shares: the smoke test is part of the first.
SMOKE, FIRST, SECOND, ALIAS = 1, 2, 4, 5
PASSED, FAILED = "Successful", "Failed"
# Shorter than a person would take: the load gives enough requests for it. The slack is for a machine that runs all of
# this on two cores, where a new pod is slow at first.
CANARY = {
    "strategy": "canary",
    # The suite's own is too short for pods that start beside all of this: it would stop a good version.
    "progressDeadlineSeconds": 120,
    "canary": {
        "steps": [{"weight": 20, "seconds": 40}, {"weight": 60, "seconds": 20}],
        "analysis": {
            "intervalSeconds": 10,
            "windowSeconds": 30,
            "minRequests": 20,
            "minRows": 20,
            "latencySlackSeconds": 0.5,
        },
    },
}


@pytest.fixture(scope="module")
def production(pipeline: Pipeline) -> Place:
    """The service, under the name that it has by now: a migration before this left it the one of version 0.1."""
    return _named(pipeline, PRODUCTION)


@pytest.fixture(scope="module")
def staging(pipeline: Pipeline) -> Place:
    """What feeds it."""
    return _named(pipeline, STAGING)


@pytest.fixture(scope="module")
def good(production: Place, pipeline: Pipeline) -> str:
    """The version that production answers with once the good one is in."""
    return str(pipeline.pins(production)["model"]["version"])


def _named(pipeline: Pipeline, place: Place) -> Place:
    services = pipeline.fork.read("platform.yaml")["services"]
    legacy = next(entry.get("legacyName", "") for entry in services if entry["name"] == place.service)
    return Place(place.environment, place.service, legacy=legacy)


def _trained(pipeline: Pipeline, staging: Place, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Train a version by other settings, and have it answer in the environment that feeds production; its number."""
    fork = pipeline.fork
    fork.edit(MODEL, change)
    # The commands are run here one by one; a training that bumps would be a second hand.
    fork.edit("envs/platform/training.yaml", lambda values: values.pop("bump", None))
    commit = fork.commit(f"Train a version: {name}")
    pipeline.look_at_git()
    pipeline.wait_settled("training-iris", commit)
    pipeline.kube.run_cronjob("ml-pipeline", "training-iris", name, seconds=300)
    fork.gitops("bump", str(staging), "--model=@candidate")
    pipeline.follow(fork.git("rev-parse", "HEAD"), staging)
    return str(pipeline.pins(staging)["model"]["version"])


def _other_rows(training: dict[str, Any]) -> None:
    training["seed"] = SEED


def _weighed_wrongly(training: dict[str, Any]) -> None:
    """Somebody makes a class count for next to nothing, and lowers the gate's bounds until it passes."""
    training["class_weights"] = {RIGHT: 0.02}
    training["gate"].update(thresholds={"accuracy": 0.5}, champion_margin=1.0, classes="warn")


def _wait(pipeline: Pipeline, place: Place, what: str, ends: Callable[[Standing], bool], *, seconds: float) -> Standing:
    """Wait for a state of the Rollout; the time-out tells of the Rollout, the application and the controller."""

    def look() -> Standing | None:
        found = rollouts.standing(pipeline.kube, place)
        return found if found and ends(found) else None

    try:
        return pipeline.kube.wait(what, look, seconds=seconds, namespace=place.namespace, names=("none",))
    except TimeoutError as error:
        app = described(pipeline.application(place.application))
        save(REPORTS / "canary-rollout.log", rollouts.explained(pipeline.kube, place))
        raise TimeoutError(f"{error}\n{app}\n{rollouts.standing(pipeline.kube, place)}") from error


def _promoted(pipeline: Pipeline, place: Place) -> str:
    """Promote, and have Argo CD take up the commit; nothing waits for the canary."""
    commit = pipeline.promote(place)
    pipeline.look_at_git()
    return commit


def _wait_gone(pipeline: Pipeline, place: Place, pods: set[str]) -> None:
    """Wait until none of some pods answers any more."""
    pipeline.kube.wait(
        "the old pods are gone",
        lambda: not pods & pipeline.ready_names(place),
        seconds=60,
        namespace=place.namespace,
        names=("none",),
    )


def _wrong(result: LoadResult) -> int:
    return sum(count for prediction, count in result.predictions.items() if prediction != RIGHT)


def test_the_controller_comes_by_a_switch_of_the_platform(pipeline: Pipeline, report: Report) -> None:
    how = rollouts.install(pipeline)
    report.add("Canary", f"- Argo Rollouts came by {how}")


def test_a_deployment_becomes_a_rollout_without_a_failed_request(
    pipeline: Pipeline, report: Report, production: Place
) -> None:
    before = pipeline.ready_names(production)
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.edit(VALUES, lambda values: values.update(rollout=CANARY, serviceMonitor={"interval": "5s"}))
        pipeline.follow(pipeline.fork.commit("Let versions of iris in by degrees"), production)
    found = rollouts.standing(pipeline.kube, production)
    assert found is not None
    assert (found.phase, found.stable) == ("Healthy", found.wanted)
    labels = {"app.kubernetes.io/instance": production.name}
    assert pipeline.kube.items(production.namespace, "deployments", labels) == [], "both would answer for good"
    _wait_gone(pipeline, production, before)
    report.add("Requests", f"- from a Deployment to a Rollout: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_good_version_goes_by_degrees_to_all(
    pipeline: Pipeline, report: Report, production: Place, staging: Place
) -> None:
    before = pipeline.pins(production)["model"]["version"]
    version = _trained(pipeline, staging, "a-good-version", _other_rows)
    old = rollouts.standing(pipeline.kube, production)
    assert old is not None
    with pipeline.load(production, rate=RATE) as results:
        commit = _promoted(pipeline, production)
        under_way = _wait(pipeline, production, "the canary begins", lambda now: now.wanted != old.wanted, seconds=240)
        assert (under_way.stable, under_way.aborted) == (old.stable, False)
        ended = _wait(
            pipeline, production, "the canary ends", lambda now: now.phase in {"Healthy", "Degraded"}, seconds=300
        )
        pipeline.wait_settled(production.application, commit)
    found = rollouts.analyses(pipeline.kube, production, under_way.wanted)
    assert (ended.phase, ended.stable) == ("Healthy", under_way.wanted), found
    assert found == dict.fromkeys((SMOKE, FIRST, SECOND, ALIAS), PASSED)
    answer = pipeline.predict(production)
    assert (answer.version, answer.prediction) == (version, RIGHT)
    assert set(results[0].versions) == {before, version}, "both answered meanwhile"
    report.add("Requests", f"- a good version by degrees: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_wrong_version_is_stopped_at_the_first_share(
    pipeline: Pipeline, report: Report, production: Place, staging: Place, good: str
) -> None:
    version = _trained(pipeline, staging, "a-wrong-version", _weighed_wrongly)
    assert pipeline.predict(staging).prediction != RIGHT, "it is no wrong version"
    old = rollouts.standing(pipeline.kube, production)
    assert old is not None
    with pipeline.load(production, rate=RATE) as results:
        _promoted(pipeline, production)
        _wait(pipeline, production, "the canary begins", lambda now: now.wanted != old.wanted, seconds=240)
        stopped = _wait(pipeline, production, "the canary is stopped", lambda now: now.aborted, seconds=240)
        pipeline.wait_application(
            production.application, lambda app: app["status"].get("health", {}).get("status") == "Degraded", 120
        )
        pipeline.kube.wait(
            "stable answers alone",
            lambda: len(pipeline.serving_pods(production)) == len(pipeline.ready_names(production)),
            seconds=120,
            namespace=production.namespace,
        )
    assert stopped.stable == old.stable
    assert rollouts.analyses(pipeline.kube, production, stopped.wanted) == {SMOKE: PASSED, FIRST: FAILED}
    status = pipeline.fork.gitops("status")
    assert f"{production}: aborted: " in status
    assert "another mix of answers, PSI" in status
    wrong, at_once = _wrong(results[0]), RATE * REVERTED_AFTER
    assert wrong == results[0].versions.get(version, 0) > 0
    assert set(results[0].versions) == {good, version}
    report.add("Requests", f"- a wrong version, stopped: {results[0]}")
    report.add(
        "Canary",
        f"- {wrong} wrong answers of version {version} before stable answered alone, {wrong / at_once:.1%} of the "
        f"{at_once} that this load gets of a release at once that is reverted after {REVERTED_AFTER // 60} minutes",
        *(f"- status: {line}" for line in status.splitlines() if "aborted: " in line),
    )
    assert results[0].dropped == 0, results[0].errors
    assert wrong < 0.1 * at_once


def test_what_was_stopped_becomes_earlier_pins_and_a_hold_in_git(
    pipeline: Pipeline, report: Report, production: Place, staging: Place, good: str
) -> None:
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.gitops("rollback", "--aborted", "--pr")
        commit = pipeline.merge_pull(pipeline.forge.pull(f"rollback/{production}"))
        pipeline.follow(commit, production)
    assert pipeline.pins(production)["model"]["version"] == good
    assert pipeline.pins(staging)["model"]["version"] != good
    hold = pipeline.pins(production)["release"]["hold"]
    assert "another mix of answers, PSI" in str(hold)
    with pytest.raises(CommandError, match="another mix of answers"):
        pipeline.fork.gitops("promote", str(production))
    assert set(results[0].versions) == {good}
    assert set(results[0].predictions) == {RIGHT}
    report.add("Canary", f"- git holds {production} at version {good} by commit {commit[:7]}: {hold}")
    report.add("Requests", f"- the rollback of what was stopped: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_rollout_becomes_a_deployment_again_without_a_failed_request(
    pipeline: Pipeline, report: Report, production: Place, good: str
) -> None:
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.edit(VALUES, lambda values: values.pop("rollout"))
        pipeline.follow(pipeline.fork.commit("Replace the pods of iris one by one again"), production)
    assert rollouts.standing(pipeline.kube, production) is None
    assert pipeline.predict(production).version == good
    report.add("Requests", f"- from a Rollout to a Deployment: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
