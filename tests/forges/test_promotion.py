"""Promotion on every forge: one pull request a service and target, kept whatever people do to it meanwhile."""

import json
import time

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import add_service, commit_all, git
from tests.forges.gitea import GiteaStage
from tests.forges.stages import Stage

BRANCH = "promote/production/iris"


def promote(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """What came of it, target by target."""
    capsys.readouterr()
    assert execute(["promote", "--json", *options]) == 0
    return [outcome["outcome"] for outcome in json.loads(capsys.readouterr().out)]


def test_one_pull_request_is_opened_and_then_kept(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    assert promote(capsys) == ["opened"]
    (pull,) = stage.opened()
    assert (pull.branch, list(pull.labels)) == (BRANCH, ["promote"])
    assert pull.title.startswith("Promote to production/iris: image 1.1.0, iris-classifier 1")
    assert "exactly the pins that staging/iris runs" in pull.body
    assert stage.pinned("production", BRANCH) == "1"

    approved_at = stage.head(BRANCH)
    # Its body may say a longer time; what was approved stays.
    assert promote(capsys) in (["unchanged"], ["updated"])
    assert stage.head(BRANCH) == approved_at

    stage.pin("staging", 2)
    assert promote(capsys) == ["updated"]
    (pull,) = stage.pulls()
    assert "iris-classifier 2" in pull.title
    assert (stage.pinned("production", BRANCH), list(pull.labels)) == ("2", ["promote"])


@pytest.mark.parametrize("stage", ["gitea"], indirect=True)
def test_a_label_that_is_there_is_taken(stage: GiteaStage, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it stands on the second page."""
    stage.add_labels("a", "b", "promote")
    stage.pin("staging", 1)
    assert promote(capsys) == ["opened"]
    assert [list(pull.labels) for pull in stage.opened()] == [["promote"]]
    assert stage.labels() == ["a", "b", "promote"]


def test_each_service_has_its_own(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    add_service(stage.clone, "wine", "wine-classifier")
    commit_all(stage.clone, "add wine")
    git(stage.clone, "push", "--quiet", "origin", "main")
    stage.pin("staging", 1)
    stage.pin("staging", 1, "wine")
    # Beside one that a person opened.
    git(stage.clone, "push", "--quiet", "origin", f"{stage.pin('staging', 2)}:refs/heads/something-else")
    assert promote(capsys) == ["opened", "opened"]
    assert sorted(pull.branch for pull in stage.opened()) == [BRANCH, "promote/production/wine"]
    assert set(promote(capsys)) <= {"unchanged", "updated"}
    assert len(stage.opened()) == 2


def test_a_merge_ends_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    promote(capsys)
    stage.merge(1)
    assert stage.pinned("production") == "1"
    assert promote(capsys) == ["nothing to promote"]
    stage.pin("staging", 2)
    assert promote(capsys) == ["opened"]
    assert [pull.state for pull in stage.pulls()] == ["merged", "open"]


def test_what_people_do_to_it_is_seen_the_next_time(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    promote(capsys)
    title = stage.pulls()[0].title
    stage.edit(1, "mine")
    assert promote(capsys) == ["updated"]
    assert stage.pulls()[0].title == title

    # A push of somebody else's to its branch: what is proposed is what the source runs, and nothing else.
    git(stage.clone, "fetch", "--quiet", "origin", BRANCH)
    git(stage.clone, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    (stage.clone / "smuggled.txt").write_text("mine\n")
    commit_all(stage.clone, "mine")
    git(stage.clone, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
    git(stage.clone, "checkout", "--quiet", "main")
    promote(capsys)
    assert git(stage.clone, "diff", "--name-only", "origin/main", stage.head(BRANCH)) == (
        "envs/production/iris/release.yaml"
    )

    stage.close(1)
    assert promote(capsys) == ["opened"]
    assert [pull.state for pull in stage.pulls()] == ["closed", "open"]


def test_a_hold_closes_it_and_says_why(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    promote(capsys)
    assert execute(["hold", "staging/iris", "--reason", "wrong answers"]) == 0
    (pull,) = stage.pulls()
    assert (pull.state, stage.comments(1)) == ("closed", ["staging/iris is held: wrong answers"])
    assert execute(["promote"]) == 3
    assert execute(["unhold", "staging/iris"]) == 0
    assert promote(capsys) == ["opened"]


def test_a_conflict_of_two_promotions_goes_with_the_next_run(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody else's change of the same pins is merged first."""
    stage.pin("production", 1)
    stage.pin("staging", 3)
    promote(capsys)
    stage.pin("production", 2)
    assert conflicts(stage, capsys, wanted=True)
    assert promote(capsys) == ["updated"]
    assert not conflicts(stage, capsys, wanted=False)
    stage.merge(1)
    assert stage.pinned("production") == "3"


def conflicts(stage: Stage, capsys: pytest.CaptureFixture[str], *, wanted: bool) -> bool:
    """What `gitops pulls` says, once the forge has had the time to look."""
    found = not wanted
    for _ in range(50):
        capsys.readouterr()
        assert execute(["pulls", "--json"]) == 0
        (shown,) = json.loads(capsys.readouterr().out)
        found = shown["opinion"]["conflicts"]
        if found == wanted:
            break
        time.sleep(0.2)
    return found
