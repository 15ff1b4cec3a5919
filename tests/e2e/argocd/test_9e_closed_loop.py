"""A model becomes wrong, truth shows it, an alert is the reason to train again; and two pods answer files."""

import io
import json
import secrets
from collections.abc import Sequence

import pandas as pd
import pytest
from sklearn.datasets import load_iris

from embedded.loop_traffic import Answered, Meadow
from tests.e2e.argocd import prometheus
from tests.e2e.argocd.canaries import canaries_of
from tests.e2e.argocd.loop import AFTER, ALERT, DRY, SHARDS, SHARED, USUAL, Loop
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.kube import together
from tests.e2e.report import Report

_IRIS = load_iris()
_HEADING = "Closed loop"
_FILES, _ROWS_A_FILE = 4, 50


@pytest.fixture(scope="module")
def loop(pipeline: Pipeline) -> Loop:
    """Return the service under its present name."""
    named = canaries_of(pipeline)
    return Loop(pipeline, named.production, named.staging, secrets.token_hex(20))


@pytest.fixture(scope="module")
def meadow() -> Meadow:
    """Return the source of flowers."""
    return Meadow(_IRIS.data, _IRIS.target_names[_IRIS.target])


@pytest.fixture(scope="module")
def asked() -> dict[str, list[Answered]]:
    """Return the dictionary that gets the requests of each summer."""
    return {}


def right(requests: Sequence[Answered]) -> float:
    """Return the share of right answers. Every request has the same number of rows."""
    return sum(each.right for each in requests) / len(requests)


def test_log_truth_and_reasons_are_switched_on_by_git(pipeline: Pipeline, loop: Loop) -> None:
    if pipeline.pins(loop.production)["release"].get("hold"):
        canaries_of(pipeline).unheld()
    loop.make_secrets()
    commit = loop.switch_on()
    pipeline.look_at_git()
    pipeline.wait_settled("root", commit)
    pipeline.look_at_git()
    for name in ("minio", "observability", "training-iris"):
        pipeline.wait_settled(name, commit)
    loop.watch()
    pipeline.follow(commit, loop.production)
    loop.wait_pushing()


def test_answers_become_wrong_and_nothing_reports_it_yet(
    pipeline: Pipeline, report: Report, loop: Loop, meadow: Meadow, asked: dict[str, list[Answered]]
) -> None:
    usual, dry = meadow.flowers(USUAL, dry=False), meadow.flowers(DRY, dry=True)
    training = "nothing-is-wrong"

    def ask() -> None:
        asked["usual"], asked["dry"] = loop.ask_of(usual, told=True), loop.ask_of(dry)

    # Training first checks for a reason, and finds none.
    together(ask, lambda: pipeline.kube.run_cronjob(SHARED, "training-iris", training, seconds=300))
    assert "needs no training" in loop.said_by(training)
    assert right(asked["usual"]) > 0.9
    assert right(asked["dry"]) < 0.85
    loop.wait_logged(rows=USUAL + DRY, truths=USUAL)
    report.add(
        _HEADING, f"- {USUAL} usual flowers: {right(asked['usual']):.1%} right; {DRY} others: {right(asked['dry']):.1%}"
    )


def test_truth_arrives_and_fires_the_alert(
    pipeline: Pipeline, report: Report, loop: Loop, asked: dict[str, list[Answered]]
) -> None:
    loop.put_truth(asked["dry"])
    pipeline.kube.run_cronjob(SHARED, loop.outcomes_job(), "what-was-true", seconds=300)
    labels = f'namespace="{loop.production.namespace}", job="{loop.production.service}"'
    realised = f'model_realised{{{labels}, metric="accuracy"}}'
    firing = f'ALERTS{{alertname="{ALERT}", alertstate="firing", {labels}}}'
    pipeline.kube.wait(
        f"{ALERT} fires",
        lambda: prometheus.query(pipeline.kube, firing),
        seconds=240,
        namespace=prometheus.NAMESPACE,
        names=("none",),
    )
    [(said, accuracy)] = prometheus.query(pipeline.kube, realised)
    [(_, joined)] = prometheus.query(pipeline.kube, f"model_outcomes_joined{{{labels}}}")
    assert joined == USUAL + DRY
    assert accuracy == pytest.approx(right([*asked["usual"], *asked["dry"]]))
    assert said["model_version"] == pipeline.pins(loop.production)["model"]["version"]
    report.add(
        _HEADING, f"- {ALERT} fires: accuracy {accuracy:.3f} of version {said['model_version']} on {joined:.0f} rows"
    )


def test_the_alert_is_the_reason_to_train_and_the_promotion_names_it(
    pipeline: Pipeline, report: Report, loop: Loop
) -> None:
    fork, before = pipeline.fork, pipeline.pins(loop.production)["model"]["version"]
    pipeline.kube.run_cronjob(SHARED, "training-iris", "what-is-wrong", seconds=300)
    images = pipeline.images
    assert images.serving_batch, "the image that answers files was not pushed: make e2e-images"
    pins = ["--model=@candidate", f"--image={images.serving.pin}", f"--batch-image={images.serving_batch.pin}"]
    fork.gitops("bump", str(loop.staging), *pins)
    commit = fork.git("rev-parse", "HEAD")
    assert f"Trained because: {ALERT}" in fork.git("log", "-1", "--format=%B", commit)
    pipeline.follow(commit, loop.staging)
    pipeline.follow(pipeline.promote(loop.production), loop.production)
    body = pipeline.proposal(loop.production).body
    assert "## Why it was trained" in body
    assert ALERT in body
    version = pipeline.pins(loop.production)["model"]["version"]
    assert version == pipeline.pins(loop.staging)["model"]["version"] != before
    report.add(_HEADING, f"- version {version} replaced {before}, trained for that alert")


def test_answers_are_right_again(pipeline: Pipeline, report: Report, loop: Loop, meadow: Meadow) -> None:
    after = loop.ask_of(meadow.flowers(AFTER, dry=True))
    assert {each.version for each in after} == {pipeline.pins(loop.production)["model"]["release"]}
    assert right(after) > 0.9
    report.add(_HEADING, f"- {AFTER} flowers of the same summer: {right(after):.1%} right")


def test_two_pods_answer_files_like_the_api(pipeline: Pipeline, report: Report, loop: Loop, meadow: Meadow) -> None:
    """With the pins of the environment, each pod answers its share, and every digit is equal to the API's answer."""
    names = [f"part-{number}.parquet" for number in range(_FILES)]
    flowers = [meadow.flowers(_ROWS_A_FILE, dry=bool(number % 2)) for number in range(_FILES)]
    tables = [pd.DataFrame(each.rows, columns=_IRIS.feature_names) for each in flowers]
    loop.put_rows({name: table.to_parquet(index=False) for name, table in zip(names, tables, strict=True)})
    shards = loop.batch("tonight")
    assert len(shards) == SHARDS
    assert all(shard["scored"] > 0 and shard["failed"] == shard["rejected"] == 0 for shard in shards), shards
    assert sum(shard["scored"] for shard in shards) == _FILES
    rows = [dict(zip(_IRIS.feature_names, row, strict=True)) for each in flowers for row in each.rows.tolist()]
    truth = [str(kind) for each in flowers for kind in each.species]
    answers = loop.ask(rows, truth, at_once=_ROWS_A_FILE)
    written, pinned = loop.batch_answers(), pipeline.pins(loop.production)["model"]
    for name, api in zip(names, answers, strict=True):
        batch = pd.read_parquet(io.BytesIO(written[name]))
        assert batch["prediction"].tolist() == api.answers
        assert batch["probability"].tolist() == api.confidences
        assert set(batch["model_digest"]) == {pinned["digest"]}
        manifest = json.loads(written[f"{name.removesuffix('.parquet')}.manifest.json"])
        assert (manifest["model"]["version"], manifest["model"]["digest"]) == (pinned["version"], pinned["digest"])
    shares = " and ".join(f"{shard['rows']} rows of {shard['scored']} files" for shard in shards)
    report.add(_HEADING, f"- batch: {shares} by {SHARDS} pods, answers equal to the API's")
