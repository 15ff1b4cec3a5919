"""The minimum age of a promotion: by records of Argo CD and the forge, and not by the dates of commits."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from gitops.cli import execute
from gitops.forge.api import LongListError
from gitops.forge.choice import forge
from gitops.forge.protocol import Forge, Move
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.git.trunk import Trunk
from gitops.pins.release import written
from gitops.platform.reader import platform_at
from gitops.promotion.arrival import Arrivals
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import at, commit_all, git
from services.gitops.tests.github import Answer, GitHub
from services.gitops.tests.memory_cluster import WELL, MemoryCluster
from services.gitops.tests.promotion_setup import STAGING, push, release

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = ("promote", "--min-age", "60")


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def landed(clone: Path, version: int, made: datetime, when: datetime, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pin a version of the model at one time, and push it at another, as a fast-forward does."""
    with at(made, monkeypatch):
        (clone / "code.txt").write_text(f"code for {version}\n")
        commit_all(clone, "code")
    with at(when, monkeypatch):
        git(clone, "push", "--quiet")
    file = clone / STAGING
    with at(made, monkeypatch):
        file.write_text(written(file.read_text(), release(version), "staging"))
        commit = commit_all(clone, f"iris {version}")
    with at(when, monkeypatch):
        git(clone, "push", "--quiet")
    return commit


def argocd(monkeypatch: pytest.MonkeyPatch, *history: tuple[datetime, str]) -> None:
    """Let the cluster have Argo CD's application of the source, with syncs of commits, the oldest first."""
    cluster = MemoryCluster()
    syncs = [{"id": number, "deployedAt": f"{when:%FT%TZ}", "revisions": ["0.1.0", commit]}
             for number, (when, commit) in enumerate(history)]  # fmt: skip
    status: Mapping[str, Any] = {**WELL, "history": syncs}
    cluster.put("applications", {"metadata": {"name": "iris-staging", "namespace": "argocd"}, "status": status})
    monkeypatch.setattr("gitops.commands.promotion.Cluster", lambda *_, **__: cluster)


def test_a_commit_that_landed_now_is_young_whatever_its_date(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    landed(clone, 3, hours_ago(72), NOW, monkeypatch)
    assert execute(HOUR) == 3
    assert "60 minutes are required" in capsys.readouterr().err
    assert hub.pulls == []


def test_later_pushes_do_not_make_pins_younger(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = landed(clone, 3, hours_ago(72), hours_ago(2), monkeypatch)
    (clone / "notes.txt").write_text("more\n")
    commit_all(clone, "more")
    git(clone, "push", "--quiet")
    assert execute(HOUR) == 0
    assert "staging/iris has had these pins for 2 h: since " in hub.pulls[0]["body"]
    assert f", as the forge recorded, by {commit}." in hub.pulls[0]["body"]


def test_a_push_after_the_fetch_changes_nothing(
    clone: Path, origin: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(clone, 3, hours_ago(72), hours_ago(2), monkeypatch)
    start = Trunk.find(Repository(clone), "main").newest()
    tree = git(origin, "rev-parse", "main^{tree}")
    git(origin, "update-ref", "refs/heads/main", git(origin, "commit-tree", tree, "-p", "main", "-m", "newer"))
    (commit,) = start.repository.log(STAGING, start.commit, limit=1)
    found = Arrivals(start, forge(platform_at(start))).of(commit, None)
    assert found
    assert found.when == hours_ago(2)


def test_the_forge_is_asked_once_for_all_commits(clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    landed(clone, 3, hours_ago(72), hours_ago(2), monkeypatch)
    start = Snapshot(Repository(clone), git(clone, "rev-parse", "HEAD"))
    arrivals = Arrivals(start, forge(platform_at(start)))
    for commit in start.repository.log(STAGING, start.commit):
        assert arrivals.of(commit, None)
    assert len(hub.requests) == 1


def test_argo_cds_record_counts_before_the_forges(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = landed(clone, 3, hours_ago(72), hours_ago(50), monkeypatch)
    older = git(clone, "rev-parse", f"{commit}~1")
    # Argo CD was stopped for two days.
    argocd(monkeypatch, (hours_ago(60), older), (hours_ago(0.1), commit))
    assert execute(HOUR) == 3
    assert "60 minutes are required" in capsys.readouterr().err
    argocd(monkeypatch, (hours_ago(60), older), (hours_ago(3), commit), (hours_ago(0.1), commit))
    assert execute(HOUR) == 0
    assert "for 3 h: since " in hub.pulls[0]["body"]
    assert ", as Argo CD recorded, by " in hub.pulls[0]["body"]
    # A rollback in Argo CD ended an earlier run of the same pins.
    argocd(monkeypatch, (hours_ago(9), commit), (hours_ago(8), older), (hours_ago(0.1), commit))
    assert execute(HOUR) == 3


def test_the_forges_record_counts_if_argo_cd_has_none(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argo CD does not record a partial sync, nor pins that change no manifest."""
    commit = landed(clone, 3, hours_ago(72), hours_ago(2), monkeypatch)
    argocd(monkeypatch, (hours_ago(60), git(clone, "rev-parse", f"{commit}~1")))
    assert execute(HOUR) == 0
    assert "for 2 h: since " in hub.pulls[0]["body"]


def test_an_age_that_nobody_recorded_is_not_assumed(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    landed(clone, 3, hours_ago(72), hours_ago(72), monkeypatch)
    assert execute([*HOUR, "--branch-only"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "It is not known since when staging/iris has had its pins." in said
    assert "there is no token for it" in said
    assert "--min-age 0" in said
    assert execute(["promote", "--branch-only", "--min-age", "0"]) == 0


def test_a_forge_without_such_records_is_named(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    landed(clone, 3, hours_ago(72), hours_ago(72), monkeypatch)
    hub.faults = [Answer(404, {"message": "Not Found"})]
    assert execute(HOUR) == 2
    assert "Not Found" in capsys.readouterr().err
    hub.faults = [Answer(401, {"message": "Bad credentials"})]
    assert execute(HOUR) == 2
    assert "GITHUB_TOKEN is not valid there" in " ".join(capsys.readouterr().err.split())


def test_a_wrong_token_does_not_stop_a_promotion_without_minimum_age(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Answer(401, {"message": "Bad credentials"})]
    assert execute(["promote"]) == 0
    assert "It is not known since when staging/iris has had these pins, by " in hub.pulls[0]["body"]


def test_young_pins_need_no_record(clone: Path, hub: GitHub) -> None:
    push(clone, "staging", release(3), "bump(staging): iris 3")
    assert execute(HOUR) == 3
    assert hub.requests == []


class BusyForge:
    """A forge whose record of moves is too long to be read to its end."""

    def __init__(self, *moves: Move) -> None:
        self._read = moves

    def moves(self) -> Iterator[Move]:
        yield from self._read
        raise LongListError("the list /activity has more than 20 pages")


def test_of_a_record_that_is_too_long_the_oldest_move_that_was_read_counts(
    clone: Path, hub: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(clone, 3, hours_ago(72), hours_ago(9), monkeypatch)
    start = Snapshot(Repository(clone), git(clone, "rev-parse", "HEAD"))
    (commit,) = start.repository.log(STAGING, start.commit, limit=1)
    busy = cast(
        "Forge", BusyForge(Move(head=start.commit, when=hours_ago(1)), Move(head=commit.sha, when=hours_ago(2)))
    )
    found = Arrivals(start, busy).of(commit, None)
    assert found
    assert found.when == hours_ago(2)
    nothing = Arrivals(start, cast("Forge", BusyForge()))
    assert nothing.of(commit, None) is None
    assert "more than 20 pages" in nothing.problem
