"""Canaries: a good version reaches all pods, a wrong one is stopped and rolled back, and git says why."""

import re
from typing import Any

import pytest

from tests.e2e.argocd import canaries, rollouts
from tests.e2e.argocd.canaries import (
    ALIAS,
    CANARY,
    FIRST,
    PASSED,
    RATE,
    REVERTED_AFTER,
    RIGHT,
    SECOND,
    SMOKE,
    VALUES,
    Canaries,
)
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.rollouts import RolloutState
from tests.e2e.kube import CommandError
from tests.e2e.report import Report

SEED = 11


def _other_rows(training: dict[str, Any]) -> None:
    """Train on other rows. With the held-out rows removed, the version may be a little worse than the present one."""
    training["seed"] = SEED
    training["gate"]["champion_margin"] = 0.1


def _weighed_wrongly(training: dict[str, Any]) -> None:
    """Give a class almost no weight, and lower the gate's thresholds until the version passes."""
    training["class_weights"] = {RIGHT: 0.02}
    training["gate"].update(thresholds={"accuracy": 0.5}, champion_margin=1.0, classes="warn")


def test_a_switch_of_the_platform_installs_the_controller(pipeline: Pipeline, report: Report) -> None:
    how = rollouts.install(pipeline)
    report.add("Canary", f"- Argo Rollouts came by {how}")


def test_a_deployment_becomes_a_rollout_without_a_failed_request(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    production = canary.production
    before = pipeline.ready_names(production)
    said = {"rollout": CANARY, "serviceMonitor": {"interval": "5s"}, "watch": {"minutes": 15}}
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.edit(VALUES, lambda values: values.update(said))
        pipeline.follow(pipeline.fork.commit("Release versions of iris as canaries"), production)
    found = canary.state()
    assert (found.phase, found.stable) == ("Healthy", found.wanted)
    labels = {"app.kubernetes.io/instance": production.name}
    assert pipeline.kube.items(production.namespace, "deployments", labels) == [], "both would answer"
    pipeline.kube.wait(
        "the old pods are gone",
        lambda: not before & pipeline.ready_names(production),
        seconds=60,
        namespace=production.namespace,
        names=("none",),
    )
    report.add("Requests", f"- from a Deployment to a Rollout: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_candidate_answers_productions_requests_as_a_shadow(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    production, before = canary.production, canary.version()
    version = canary.trained("a-good-version", _other_rows)
    old = canary.state()
    with pipeline.load(production, rate=RATE) as results:
        pipeline.fork.gitops("shadow", str(production), f"--model={version}", "--sample=1", "--pr")
        commit = pipeline.merge_pull(pipeline.forge.pull(f"shadow/{production}"))
        pipeline.look_at_git()
        _let_in(pipeline, canary, old, commit)
    assert set(results[0].versions) == {before}
    report.add("Requests", f"- a shadow on the canary Rollout: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def _let_in(pipeline: Pipeline, canary: Canaries, old: RolloutState, commit: str) -> None:
    """Wait until a canary ends, and check that every share was judged good."""
    under_way = canary.begun(old)
    assert (under_way.stable, under_way.aborted) == (old.stable, False)
    ended = canary.wait("the canary ends", lambda now: now.phase in {"Healthy", "Degraded"}, seconds=300)
    pipeline.wait_settled(canary.production.application, commit)
    found = rollouts.analyses(pipeline.kube, canary.production, under_way.wanted)
    assert (ended.phase, ended.stable) == ("Healthy", under_way.wanted), (found, canary.status())
    assert found == dict.fromkeys((SMOKE, FIRST, SECOND, ALIAS), PASSED)


def test_a_good_version_reaches_all_pods_in_steps(pipeline: Pipeline, report: Report, canary: Canaries) -> None:
    production, before = canary.production, canary.version()
    version = pipeline.pins(canary.staging)["model"]["version"]
    old = canary.state()
    with pipeline.load(production, rate=RATE) as results:
        _let_in(pipeline, canary, old, canary.promoted())
    told = re.search(r"Over [\d,]+ rows of \S+ the candidate agrees with .*", pipeline.proposal(production).body)
    assert told, pipeline.proposal(production).body
    report.add("Canary", f"- the promotion of version {version} says: {told[0]}")
    answer = pipeline.predict(production)
    assert (answer.version, answer.prediction) == (version, RIGHT)
    assert set(results[0].versions) == {before, version}, "both versions answered during the canary"
    report.add("Requests", f"- a good version as a canary: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_wrong_version_is_stopped_at_the_first_share(pipeline: Pipeline, report: Report, canary: Canaries) -> None:
    good = canary.version()
    version = canary.trained("a-wrong-version", _weighed_wrongly)
    assert pipeline.predict(canary.staging).prediction != RIGHT, "the version must answer wrongly"
    old = canary.state()
    with pipeline.load(canary.production, rate=RATE) as results:
        canary.promoted()
        canary.stopped(old)
    status = canary.status()
    assert "aborted: another mix of answers, PSI" in status
    wrong = canaries.wrong(results[0])
    assert wrong == results[0].versions.get(version, 0)
    assert set(results[0].versions) == {good, version}
    report.add("Requests", f"- a wrong version, stopped: {results[0]}")
    report.add("Canary", f"- {canaries.compared(wrong, 'wrong', RATE * REVERTED_AFTER)}", f"- gitops status: {status}")
    assert results[0].dropped == 0, results[0].errors


def test_a_stopped_version_is_replaced_by_earlier_pins_and_a_hold_in_git(
    pipeline: Pipeline, report: Report, canary: Canaries
) -> None:
    production, stopped = canary.production, canary.version()
    with pipeline.load(production, rate=RATE) as results:
        commit = canary.taken_back("rollback", "--aborted")
    good = canary.version()
    assert (good != stopped, stopped) == (True, pipeline.pins(canary.staging)["model"]["version"])
    hold = pipeline.pins(production)["release"]["hold"]
    assert "another mix of answers, PSI" in str(hold)
    with pytest.raises(CommandError, match="another mix of answers"):
        pipeline.fork.gitops("promote", str(production))
    assert set(results[0].versions) == {good}
    assert set(results[0].predictions) == {RIGHT}
    report.add("Canary", f"- git holds {production} at version {good} by commit {commit[:7]}: {hold}")
    report.add("Requests", f"- the rollback of what was stopped: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
