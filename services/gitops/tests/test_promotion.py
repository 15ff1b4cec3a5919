"""`gitops promote`: the source's exact pins, a pull request with all facts for a reviewer, and what prevents it."""

import json
from pathlib import Path

import msgspec
import pytest

from gitops.cli import execute
from gitops.errors import NotWantedError
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.git.trunk import Trunk
from gitops.pins.history import steps, why_trained
from gitops.pins.release import Hold, read_release, written
from gitops.platform.reader import platform_at
from gitops.promotion.arrival import Arrivals
from gitops.promotion.body import Evidence, body
from gitops.promotion.promote import Route, plan, routes
from gitops.promotion.readiness import Readiness
from gitops.rendering.diff import ObjectChange
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import DIGEST, commit_all, git
from services.gitops.tests.github import GitHub
from services.gitops.tests.memory_cluster import WELL, MemoryCluster
from services.gitops.tests.promotion_setup import BRANCH, PRODUCTION, STAGING, push, release

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub


def promote(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    capsys.readouterr()
    assert execute(["promote", "--json", *options]) == 0
    outcome: dict[str, str]
    (outcome,) = json.loads(capsys.readouterr().out)
    return outcome


def the_route(start: Snapshot) -> Route:
    """Return the only route in the project's own platform.yaml."""
    (route,) = routes(platform_at(start), None, 0)
    return route


def merge(clone: Path) -> None:
    """Do the same as the merge button of the pull request, and pull."""
    git(clone, "fetch", "--quiet", "origin", BRANCH)
    git(clone, "merge", "--quiet", "--no-ff", "--message", "Merge promotion", "FETCH_HEAD")
    git(clone, "push", "--quiet")


def test_the_first_promotion_is_the_sources_file_byte_for_byte(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    main = git(origin, "rev-parse", "main")
    outcome = promote(capsys)
    assert outcome["outcome"] == "opened"
    assert git(origin, "rev-parse", f"{BRANCH}~1") == main == git(origin, "rev-parse", "main")
    assert git(origin, "diff", "--name-only", "main", BRANCH) == str(PRODUCTION)
    assert git(origin, "rev-parse", f"{BRANCH}:{PRODUCTION}") == git(origin, "rev-parse", f"main:{STAGING}")
    (pull,) = hub.opened()
    assert pull["title"] == "Promote to production/iris: image 1.2.0, iris-classifier 2, chart 0.1.0".replace(
        "0.1.0", release(2).release.chart
    )
    merge(clone)
    hub.pulls[0]["state"] = "closed"
    assert promote(capsys)["outcome"] == "nothing to promote"
    assert execute(["history", "production/iris"]) == 0
    assert "Merge promotion" in capsys.readouterr().out


def test_the_body_has_the_reason_of_the_training_in_every_environment(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "production", release(1), "promote(production): iris 1")
    git(clone, "checkout", "--quiet", "-b", "bump")
    (clone / STAGING).write_text(written((clone / STAGING).read_text(), release(3), "staging"))
    commit_all(clone, "bump(staging/iris): iris 3\n\nTrained because: Drift of `x`, @ada.\n\nmodel.version: 2 -> 3")
    git(clone, "checkout", "--quiet", "main")
    git(clone, "merge", "--quiet", "--no-ff", "--message", "Merge pull request 7", "bump")
    git(clone, "push", "--quiet")
    # A later bump of the image does not hide it.
    image = msgspec.structs.replace(release(3).image, tag="2.0.0")
    push(clone, "staging", msgspec.structs.replace(release(3), image=image), "bump(staging/iris): image 2.0.0")
    promote(capsys)
    (pull,) = hub.opened()
    assert "## Why it was trained\n\n`Drift of 'x', @ada.`\n" in pull["body"]
    assert "\nTrained because: Drift of `x`, @ada.\n" in git(origin, "show", "--format=%B", "--no-patch", BRANCH)
    merge(clone)
    start = Snapshot(Repository(clone), git(clone, "rev-parse", "HEAD"))
    (route,) = routes(platform_at(start), None, 0)
    found = steps(start.repository, route.target, start.commit)
    assert why_trained(start.repository, route.target, found, release(3).model) == "Drift of `x`, @ada."
    assert why_trained(start.repository, route.target, found, release(2).model) == ""


def test_without_a_new_model_the_body_has_no_reason(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "staging", release(3), "bump(staging/iris): iris 3\n\nTrained because: Drift.")
    push(clone, "production", release(3), "promote(production): iris 3")
    image = msgspec.structs.replace(release(3).image, tag="2.0.0")
    push(clone, "staging", msgspec.structs.replace(release(3), image=image), "bump(staging/iris): image 2.0.0")
    promote(capsys)
    assert "Why it was trained" not in hub.opened()[0]["body"]


def test_a_later_promotion_copies_every_pin_and_keeps_comments(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "production", release(1), "promote(production): iris 1")
    remarked = (clone / PRODUCTION).read_text().replace("image:", "# asked for by Ada\nimage:")
    (clone / PRODUCTION).write_text(remarked)
    commit_all(clone, "remark")
    git(clone, "push", "--quiet")
    promote(capsys)
    promoted = git(origin, "show", f"{BRANCH}:{PRODUCTION}")
    assert "# asked for by Ada" in promoted
    assert [line for line in promoted.splitlines() if "Ada" not in line] == (clone / STAGING).read_text().splitlines()


def test_the_body_has_the_changes_and_the_evidence(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "production", release(1), "promote(production): iris 1")
    text = promote(capsys, "--dry-run")["body"]
    assert hub.requests == ["GET /repos/acme/pipeline/activity"]
    assert "| image.tag | 1.1.0 | 1.2.0 |" in text
    assert "| model.version | 1 | 2 |" in text
    assert "| accuracy | 0.91 | 0.92 | +0.01 |" in text
    assert "`Answer 'faster', @ada` (`Ada`)" in text
    assert "`bump(staging): iris 2`" in text
    assert "`bump(staging): iris 1`" not in text
    assert "`promote(production): iris 1`" not in text
    assert "staging/iris has had these pins for" in text
    assert git(clone, "log", "-1", "--format=%H", "HEAD~1") in text
    assert "The cluster gave no information: `" in text
    assert "`gitops diff production/iris --pins-of staging` shows them" in text


def test_the_body_shows_the_rendered_differences(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITOPS_MIN_AGE", "0")
    push(fork, "staging", release(2), "bump(staging): iris 2")
    push(fork, "production", release(1), "promote(production): iris 1")
    text = promote(capsys, "--dry-run")["body"]
    assert "- changed: `Deployment ml-pipeline-production/iris`" in text
    assert "+" in text.partition("~~~~~~~~diff")[2]
    assert "1.2.0" in text.partition("~~~~~~~~diff")[2]


def test_an_open_pull_request_does_not_change_until_the_pins_do(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    first = promote(capsys)["commit"]
    (clone / "notes.txt").write_text("more code\n")
    commit_all(clone, "more code")
    git(clone, "push", "--quiet")
    assert promote(capsys)["commit"] == first
    push(clone, "staging", release(3), "bump(staging): iris 3")
    outcome = promote(capsys)
    assert (outcome["outcome"], len(hub.pulls)) == ("updated", 1)
    assert outcome["commit"] == git(origin, "rev-parse", BRANCH) != first
    assert git(origin, "rev-parse", f"{BRANCH}~1") == git(origin, "rev-parse", "main")
    push(clone, "production", release(1), "promote(production): iris 1")
    assert promote(capsys)["commit"] != outcome["commit"]


def test_commits_of_others_on_the_branch_are_replaced(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(capsys)
    git(clone, "fetch", "--quiet", "origin", BRANCH)
    git(clone, "checkout", "--quiet", "-b", "mine", "FETCH_HEAD")
    (clone / "apps" / "note.txt").write_text("smuggled in\n")
    commit_all(clone, "one more thing")
    git(clone, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
    promote(capsys)
    assert git(origin, "diff", "--name-only", "main", BRANCH) == str(PRODUCTION)
    tree = git(clone, "rev-parse", "HEAD^{tree}")
    git(
        clone,
        "push",
        "--quiet",
        "--force",
        "origin",
        f"{git(clone, 'commit-tree', tree, '-m', 'no ancestor')}:refs/heads/{BRANCH}",
    )
    promote(capsys)
    assert git(origin, "rev-parse", f"{BRANCH}~1") == git(origin, "rev-parse", "main")


def test_a_branch_that_was_updated_from_main_is_left_alone(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(capsys)
    (clone / "notes.txt").write_text("more code\n")
    commit_all(clone, "more code")
    git(clone, "push", "--quiet")
    git(clone, "fetch", "--quiet", "origin", BRANCH)
    git(clone, "checkout", "--quiet", "-b", "mine", "FETCH_HEAD")
    git(clone, "merge", "--quiet", "--no-edit", "main")
    git(clone, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
    assert promote(capsys)["commit"] == git(clone, "rev-parse", "HEAD")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_hold_of_either_side_closes_the_pull_request(
    clone: Path, hub: GitHub, environment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "production", release(1), "promote(production): iris 1")
    promote(capsys)
    assert execute(["hold", f"{environment}/iris", "--reason", "wrong answers"]) == 0
    assert hub.opened() == []
    assert hub.comments == [(1, f"{environment}/iris is held: wrong answers")]
    assert execute(["promote"]) == 3
    assert f"{environment}/iris is held: wrong answers" in capsys.readouterr().err
    assert hub.opened() == []
    assert execute(["unhold", f"{environment}/iris"]) == 0
    assert promote(capsys)["outcome"] == "opened"


def test_promote_closes_the_pull_request_after_a_hold_without_a_token(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(capsys)
    with monkeypatch.context() as patched:
        patched.delenv("GITHUB_TOKEN")
        assert execute(["hold", "staging/iris", "--reason", "wrong answers"]) == 0
    assert "the next `gitops promote` closes it" in capsys.readouterr().err
    assert len(hub.opened()) == 1
    assert execute(["promote"]) == 3
    assert hub.opened() == []


def test_without_a_difference_the_pull_request_is_closed(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(clone, "production", release(1), "promote(production): iris 1")
    promote(capsys)
    push(clone, "staging", release(1), "rollback(staging): iris 1")
    assert promote(capsys)["outcome"] == "nothing to promote"
    assert hub.opened() == []


def test_pins_that_are_too_young_wait(clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["promote", "--min-age", "60"]) == 3
    assert "60 minutes are required" in capsys.readouterr().err
    assert hub.requests == []
    assert promote(capsys, "--min-age", "0")["outcome"] == "opened"


def test_the_age_of_pins_does_not_change_with_a_hold(clone: Path) -> None:
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "old")
    brought = git(clone, "log", "-1", "--format=%h", "--", str(STAGING))
    push(clone, "staging", release(2, Hold(reason="looking")), "hold(staging): looking")
    push(clone, "staging", release(2), "unhold(staging): looking")
    start = Snapshot(Repository(clone), git(clone, "rev-parse", "HEAD"))
    planned = plan(start, MemoryCluster(), the_route(start), Arrivals(start, None))
    assert planned
    assert f"by {brought}" in planned.body


def test_a_clone_without_history_is_refused(
    clone: Path,
    origin: Path,
    hub: GitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{origin}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    assert execute(["promote"]) == 2
    assert "fetch-depth: 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "serves", "objection"),
    [
        ({"operationState": {"phase": "Failed", "message": "smoke failed"}}, "2", "last sync failed.* smoke failed"),
        ({"operationState": {"phase": "Running"}}, "2", "smoke test has not ended"),
        ({"sync": {"status": "Synced", "revisions": ["0.1.0", "BEFORE"]}}, "2", "has not yet read"),
        # The revision is newer than the fetched history, as right after another push.
        ({"sync": {"status": "Synced", "revisions": ["0.1.0", "0" * 40]}}, "2", "Argo CD is at 0000000.* run it again"),
        ({"sync": {"status": "OutOfSync"}}, "2", "says OutOfSync and Healthy"),
        ({"health": {"status": "Degraded", "message": "crashes"}}, "2", "says Synced and Degraded.*crashes"),
        ({}, "1", "serves another model"),
        ({}, "2", None),
    ],
)
def test_the_state_of_the_source_in_the_cluster_counts(
    clone: Path, status: dict[str, object], serves: str, objection: str | None
) -> None:
    cluster = MemoryCluster()
    metadata = {"name": "iris-staging", "namespace": "argocd"}
    told = json.loads(json.dumps(status).replace("BEFORE", git(clone, "rev-parse", "HEAD~1")))
    cluster.put("applications", {"metadata": metadata, "status": {**WELL, **told}})
    labels = {"app.kubernetes.io/instance": "iris", "app.kubernetes.io/component": "server"}
    service = {"name": "iris", "namespace": "ml-pipeline-staging", "labels": labels}
    cluster.put("services", {"metadata": service, "spec": {"ports": [{"name": "http"}, {"name": "metrics"}]}})
    health = {"models": [{"name": "iris-classifier", "version": serves, "digest": DIGEST}]}
    cluster.answers["ml-pipeline-staging/iris:metrics/health"] = json.dumps(health)
    start = Trunk.find(Repository(clone), "main").newest()
    if objection:
        with pytest.raises(NotWantedError, match=f"(?s){objection}"):
            plan(start, cluster, the_route(start), Arrivals(start, None))
        return
    planned = plan(start, cluster, the_route(start), Arrivals(start, None))
    assert planned
    assert (
        "Argo CD says Synced and Healthy, its last sync Succeeded. The API answers with the pinned model."
        in planned.body
    )


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("qa", "There is no environment 'qa'"),
        ("production/roses", "There is no service 'roses'"),
        ("staging", "staging has no `from`"),
    ],
)
def test_an_invalid_promotion_is_refused(
    clone: Path, hub: GitHub, name: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["promote", name]) == 2
    assert named in capsys.readouterr().err


def test_a_source_without_a_release_cannot_be_promoted(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    (clone / STAGING).unlink()
    commit_all(clone, "gone")
    git(clone, "push", "--quiet")
    assert execute(["promote", "production/iris"]) == 2
    assert "Nothing is released to staging/iris" in capsys.readouterr().err


def test_a_shadow_is_not_promoted(clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    push(clone, "production", release(1), "promote(production/iris): iris 1")
    shadow = f'shadow: {{version: "3", digest: {DIGEST}, uri: s3://mlflow/1/models/m-3}}\n'
    (clone / STAGING).write_text((clone / STAGING).read_text() + shadow)
    commit_all(clone, "a shadow")
    git(clone, "push", "--quiet")
    promote(capsys)
    assert "shadow" not in git(origin, "show", f"{BRANCH}:{PRODUCTION}")


def test_branch_only_pushes_without_a_token(clone: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert promote(capsys, "--branch-only")["outcome"] == "pushed"
    merge(clone)
    assert read_release((clone / PRODUCTION).read_text(), "file") == release(2)


def test_a_body_that_is_too_long_is_cut_with_a_note(clone: Path) -> None:
    commit = Repository(clone).log(STAGING, limit=1)[0]
    evidence = Evidence(
        source="staging/iris",
        target="production/iris",
        before=release(1),
        after=release(2),
        readiness=Readiness(commit=commit, arrival=None, live=None, problem="away"),
        commits=[commit] * 80,
        objects=[
            ObjectChange(application="a", object="Deployment d", change="changed", diff="+ line of YAML\n" * 9000)
        ],
    )
    text = body(evidence)
    assert 50_000 < len(text) < 65_536
    assert "Cut because it is too long: `gitops diff production/iris --pins-of staging` shows all of it." in text
    assert "- and 30 more" in text


def test_a_branch_that_is_deleted_meanwhile_counts_as_missing(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forge deletes the branch after a merge."""
    git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
    trunk = Trunk(Repository(clone), "origin", "main")
    asked = trunk._git

    def merging(*arguments: str) -> str:
        said = asked(*arguments)
        if arguments[0] == "ls-remote":
            git(origin, "update-ref", "-d", f"refs/heads/{BRANCH}")
        return said

    monkeypatch.setattr(trunk, "_git", merging)
    assert trunk.branch_head(BRANCH) == ""
