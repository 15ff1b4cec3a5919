"""The other commands on every forge: with --pr, changes become pull requests, and people see their state."""

import json
from typing import Any

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import DIGEST
from services.gitops.tests.mlflow_answers import answering, as_mlflow_of_many
from tests.forges.stages import Stage

IMAGE = f"registry.example.com/acme/serving:2.0.0@{DIGEST}"


def test_a_bump_is_proposed(stage: Stage) -> None:
    stage.pin("staging", 1)
    before = stage.head("main")
    assert execute(["bump", "staging/iris", "--image", IMAGE, "--pr"]) == 0
    assert stage.head("main") == before
    (pull,) = stage.opened()
    assert (pull.branch, list(pull.labels)) == ("bump/staging/iris", ["bump"])
    assert pull.title == "bump(staging/iris): image 2.0.0"
    stage.merge(1)
    assert stage.head("main") != before
    assert execute(["bump", "staging/iris", "--image", IMAGE, "--pr"]) == 0
    assert stage.opened() == []


def test_a_shadow_is_proposed_where_pins_come_by_pull_requests(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shadow is a separate proposal from the promotion, and `gitops pulls` lists both."""
    stage.pin("staging", 2)
    stage.pin("production", 1)
    with answering(as_mlflow_of_many) as (url, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert execute(["shadow", "production/iris", "--model", "2", "--pr"]) == 0
    assert execute(["promote"]) == 0
    shadow, promotion = stage.opened()
    assert (shadow.branch, list(shadow.labels)) == ("shadow/production/iris", ["shadow"])
    assert shadow.title == "shadow(production/iris): iris-classifier 2, 0.1 of the requests"
    stage.merge(shadow.number)
    assert stage.pinned("production") == "1"
    assert execute(["promote"]) == 0
    assert "Its result is not known" in stage.opened()[0].body
    stage.merge(promotion.number)
    assert stage.pinned("production") == "2"
    capsys.readouterr()
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert "needs no change" in capsys.readouterr().out


def test_a_rollback_is_proposed_and_ends_the_promotion_once_it_is_merged(stage: Stage) -> None:
    stage.pin("staging", 1)
    stage.pin("production", 1)
    stage.pin("production", 2)
    stage.pin("staging", 3)
    assert execute(["promote"]) == 0
    assert execute(["rollback", "production/iris", "--reason", "slow", "--pr"]) == 0
    promotion, rollback = stage.opened()
    assert (promotion.branch, rollback.branch) == ("promote/production/iris", "rollback/production/iris")
    assert stage.pinned("production") == "2"
    stage.merge(rollback.number)
    assert stage.pinned("production") == "1"
    assert execute(["promote"]) == 3
    assert [pull.state for pull in stage.pulls()] == ["closed", "merged"]
    assert stage.comments(promotion.number) == ["production/iris is held: slow"]


def test_a_hold_and_its_end_are_proposed(stage: Stage) -> None:
    stage.pin("staging", 1)
    assert execute(["hold", "staging/iris", "--reason", "look", "--pr"]) == 0
    stage.merge(1)
    assert execute(["unhold", "staging/iris", "--pr"]) == 0
    assert [(pull.branch, pull.state) for pull in stage.pulls()] == [
        ("hold/staging/iris", "merged"),
        ("unhold/staging/iris", "open"),
    ]


def test_a_service_is_added_and_removed_by_pull_requests(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["new", "service", "wine", "--model", "wine-classifier", "--owner", "@wine", "--pr"]) == 0
    stage.merge(1)
    assert execute(["remove", "service", "wine", "--yes", "--pr"]) == 0
    assert "Once it is merged, run the same command again" in capsys.readouterr().out
    assert [(pull.branch, pull.state) for pull in stage.pulls()] == [
        ("new/service/wine", "merged"),
        ("remove/service/wine", "open"),
    ]
    stage.merge(2)
    # The forge may name its merge commit as it likes. The rest is removed.
    assert execute(["remove", "service", "wine", "--git-only"]) == 0
    assert "This was a dry run" in capsys.readouterr().out


def test_reviews_and_checks_are_shown(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    assert execute(["promote"]) == 0
    branch = stage.opened()[0].branch
    stage.report(branch, "images", passed=True)
    stage.report(branch, "promotion", passed=False)
    stage.report(branch, "e2e", passed=None)
    who = stage.review(1, approve=True)
    (shown,) = pulls(capsys)
    assert shown["opinion"]["approved_by"] == [who]
    assert {check["name"]: check["state"] for check in shown["opinion"]["checks"]} == {
        "images": "passed",
        "promotion": "failed",
        "e2e": "waiting",
    }
    assert execute(["pulls"]) == 0
    assert "failed: promotion" in " ".join(capsys.readouterr().out.split())


def test_a_reviewer_who_requests_changes_is_shown(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    assert execute(["promote"]) == 0
    who = stage.review(1, approve=False)
    (shown,) = pulls(capsys)
    assert (shown["opinion"]["approved_by"], shown["opinion"]["rejected_by"]) == ([], [who])


def test_no_pull_requests_are_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert pulls(capsys) == []
    assert execute(["pulls"]) == 0
    assert "There is no open pull request of gitops." in capsys.readouterr().out


def pulls(capsys: pytest.CaptureFixture[str]) -> list[dict[str, dict[str, Any]]]:
    capsys.readouterr()
    assert execute(["pulls", "--json"]) == 0
    found: list[dict[str, dict[str, Any]]] = json.loads(capsys.readouterr().out)
    return found


def test_a_workflow_is_started(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.add_workflow("train")
    assert execute(["dispatch", "train", "--input", "model=iris"]) == 0
    assert "Started train on main." in capsys.readouterr().out
    assert stage.started() == [("train", {"model": "iris"})]
    assert execute(["dispatch", "train", "--input", "model"]) == 2


@pytest.mark.parametrize("stage", ["gitea"], indirect=True)
def test_a_missing_workflow_is_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["dispatch", "nothing"]) == 2
    assert "with 404" in capsys.readouterr().err
