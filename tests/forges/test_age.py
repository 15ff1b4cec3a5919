"""The age of pins counts from the time at which the branch got them, in whatever way people merge."""

from datetime import UTC, datetime, timedelta

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import at, git
from tests.forges.stages import Stage, Way
from tests.support.waiting import until

_BRANCH = "bump/staging/iris"


def merged_now(stage: Stage, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge a pull request whose commit was made days ago."""
    stage.pin("staging", 1)
    with at(datetime.now(UTC) - timedelta(days=3), monkeypatch):
        commit = stage.pin_on(_BRANCH, "staging", 2)
    stage.propose(_BRANCH)
    stage.merge(len(stage.pulls()), way)
    assert stage.pinned("staging") == "2"
    kept = git(stage.clone, "rev-parse", "refs/seen/main") == commit
    assert kept == (way in ("rebase", "fast-forward-only"))


@pytest.mark.parametrize(
    ("stage", "way"),
    [
        ("github", "fast-forward-only"),
        ("gitlab", "fast-forward-only"),
        *(("gitea", way) for way in ("merge", "squash", "rebase", "fast-forward-only")),
    ],
    indirect=["stage"],
)
def test_old_commits_that_were_merged_now_are_young(
    stage: Stage, way: Way, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merged_now(stage, way, monkeypatch)
    # Gitea records a push in the background.
    until(lambda: execute(["promote", "--min-age", "60"]) == 3, 20)
    assert "60 minutes are required" in capsys.readouterr().err
    assert stage.opened() == []
    until(lambda: execute(["promote", "--min-age", "0.01"]) == 0, 20)
    (pull,) = stage.opened()
    assert ", as the forge recorded, by " in pull.body
