"""Promotion on every forge: one pull request for each service and target, kept up to date whatever people do to it."""

import json
import time

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import add_service, commit_all, git
from tests.forges.gitea import GiteaStage
from tests.forges.stages import Stage

BRANCH = "promote/production/iris"


def promote(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """Promote, and return the result for each target."""
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
    # Its body may name a longer time; the approved commit stays.
    assert promote(capsys) in (["unchanged"], ["updated"])
    assert stage.head(BRANCH) == approved_at

    stage.pin("staging", 2)
    assert promote(capsys) == ["updated"]
    (pull,) = stage.pulls()
    assert "iris-classifier 2" in pull.title
    assert (stage.pinned("production", BRANCH), list(pull.labels)) == ("2", ["promote"])


@pytest.mark.parametrize("stage", ["gitea"], indirect=True)
def test_an_existing_label_is_used(stage: GiteaStage, capsys: pytest.CaptureFixture[str]) -> None:
    """Also a label on the second page is found."""
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
    # A pull request of a person must not disturb this.
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


def test_the_next_run_sees_what_people_did_to_it(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    promote(capsys)
    title = stage.pulls()[0].title
    stage.edit(1, "mine")
    assert promote(capsys) == ["updated"]
    assert stage.pulls()[0].title == title

    # Another person pushes to its branch. The proposal is still exactly what the source runs.
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


def test_the_next_run_resolves_a_conflict_of_two_promotions(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """A person merges another change of the same pins first."""
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
    """Return whether `gitops pulls` reports conflicts, once the forge has had time to check."""
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
