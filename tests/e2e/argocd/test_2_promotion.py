"""A second model version travels through staging to production, and back by a revert, under constant load."""

from typing import Any

import pytest

from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.test_1_first_release import promote
from tests.e2e.report import Report

_RETRAINED: dict[str, Any] = {"data": "iris", "seed": 7, "gate": {"thresholds": {"accuracy": 0.9}}}


@pytest.fixture(scope="module")
def promoted() -> dict[str, str]:
    """The commit of the promotion, once it is made."""
    return {}


def test_a_second_version_is_trained_and_serves_in_staging_alone(pipeline: Pipeline, report: Report) -> None:
    first = pipeline.pins("staging")["model"]["version"]
    pipeline.fork.edit("envs/platform/training.yaml", lambda values: values.update(config=_RETRAINED))
    commit = pipeline.fork.commit("Train with another seed")
    pipeline.look_at_git()
    pipeline.wait_settled("training", commit)
    with pipeline.load("production") as results:
        pipeline.kube.run_cronjob("ml-pipeline", "training", "second-training", seconds=240)
        pipeline.fork.gitops("bump", "staging", "--model=@candidate")
        pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), "staging")
    second = pipeline.pins("staging")["model"]["version"]
    assert second != first
    assert pipeline.predict("staging").version == second
    assert set(results[0].versions) == {first}, "production answered with what nobody promoted"
    report.add("Requests", f"- training, and a release to staging, production watched: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_the_promotion_serves_the_same_digest_without_a_failed_request(
    pipeline: Pipeline, report: Report, promoted: dict[str, str]
) -> None:
    before = pipeline.pins("production")["model"]["version"]
    with pipeline.load("production") as results:
        promoted["commit"] = promote(pipeline)
        pipeline.follow(promoted["commit"], "production")
    answer = pipeline.predict("production")
    pins = pipeline.pins("staging")["model"]
    assert (answer.version, answer.digest) == (pins["version"], pins["digest"])
    assert set(results[0].versions) == {before, pins["version"]}
    report.add("Requests", f"- promotion: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_revert_brings_the_earlier_version_back(pipeline: Pipeline, report: Report, promoted: dict[str, str]) -> None:
    with pipeline.load("production") as results:
        pipeline.fork.git("revert", "--no-edit", "--mainline=1", promoted["commit"])
        pipeline.follow(pipeline.fork.push(), "production")
    assert pipeline.predict("production").version == pipeline.pins("production")["model"]["version"]
    assert pipeline.pins("production")["model"]["version"] != pipeline.pins("staging")["model"]["version"]
    report.add("Requests", f"- revert: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
