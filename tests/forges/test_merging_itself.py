"""A bump as a pull request that merges itself, on every forge, once everything that the branch requires is present."""

import json
import time

import pytest

from gitops.cli import execute
from gitops.fork.owners import owners_of, with_service
from gitops.platform.forges import FORGES
from services.gitops.tests.conftest import DIGEST, commit_all, git
from tests.forges.gitea import GiteaStage
from tests.forges.github import GitHubStage
from tests.forges.gitlab import GitLabStage
from tests.forges.stages import Stage

IMAGE = f"registry.example.com/acme/serving:2.0.0@{DIGEST}"
CHECKS = ("test (3.11)", "test (3.12)", "images", "e2e", "promotion")
BRANCH = "bump/staging/iris"
BUMP = ["bump", "staging/iris", "--image", IMAGE]
MACHINES = ("/envs/staging/*/release.yaml", "/envs/platform/pins/*.yaml")
SECONDS = 60.0


def by_pull_requests(stage: Stage) -> None:
    """Let machines push nothing, on forges that can enforce it."""
    file = stage.clone / "platform.yaml"
    file.write_text(f"{file.read_text()}bumps: pull-requests\n")
    owners = stage.clone / ".github/CODEOWNERS"
    owners.write_text("\n".join([*owners.read_text().splitlines(), *MACHINES, ""]))
    commit_all(stage.clone, "Bump by pull requests")
    git(stage.clone, "push", "--quiet", "origin", "HEAD:main")


def state(stage: Stage, wanted: str) -> str:
    """Return the state of the one pull request. A real forge merges in the background, so this may wait a moment."""
    until = time.monotonic() + SECONDS
    while (found := stage.pulls()[0].state) != wanted and time.monotonic() < until:
        time.sleep(0.1)
    return found


def test_a_bump_merges_itself_once_its_checks_have_passed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    same_approvals = FORGES[stage.kind].same_approvals
    if not same_approvals:
        by_pull_requests(stage)
    assert execute(["branch-protection", "--pusher", stage.pusher]) == 0
    if isinstance(stage, GiteaStage):
        stage.write_alone()
    capsys.readouterr()
    before = stage.head("main")
    assert execute([*BUMP, "--pr"] if same_approvals else BUMP) == 0
    assert "does not merge itself" not in capsys.readouterr().err
    # Another run does not change this.
    assert execute([*BUMP, "--pr"] if same_approvals else BUMP) == 0
    assert [pull.branch for pull in stage.opened()] == [BRANCH]
    if same_approvals:
        stage.review(1, approve=True)
    for check in CHECKS[:-1]:
        stage.report(BRANCH, check, passed=True)
    assert (stage.pulls()[0].state, stage.head("main")) == ("open", before)
    stage.await_conflict_check(1)
    stage.report(BRANCH, CHECKS[-1], passed=True)
    assert state(stage, "merged") == "merged"
    assert stage.head("main") != before


def test_without_rules_a_person_merges_and_the_output_says_so(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be merged at once, and nobody would see it."""
    stage.pin("staging", 1)
    before = stage.head("main")
    assert execute([*BUMP, "--pr"]) == 0
    assert "does not merge itself" in " ".join(capsys.readouterr().err.split())
    assert ([pull.state for pull in stage.pulls()], stage.head("main")) == (["open"], before)


@pytest.mark.parametrize("stage", ["github", "gitlab"], indirect=True)
def test_a_promotion_never_merges_itself(stage: Stage) -> None:
    stage.pin("staging", 1)
    stage.pin("production", 1)
    stage.pin("staging", 2)
    assert execute(["branch-protection", "--pusher", stage.pusher]) == 0
    assert execute(["promote"]) == 0
    assert execute(["hold", "staging/iris", "--reason", "look", "--pr"]) == 0
    assert len(stage.opened()) == 2
    if isinstance(stage, GitHubStage):
        assert not any("auto_merge" in pull for pull in stage.hub.pulls)
    if isinstance(stage, GitLabStage):
        assert not any(merge.get("merge_when_pipeline_succeeds") for merge in stage.hub.merges)
    for pull in stage.opened():
        for check in CHECKS:
            stage.report(pull.branch, check, passed=True)
    assert [pull.state for pull in stage.pulls()] == ["open", "open"]


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_on_github_nobody_bypasses_the_branch_and_only_owners_must_agree(stage: GitHubStage) -> None:
    by_pull_requests(stage)
    assert execute(["branch-protection", "--pusher", stage.pusher]) == 0
    branch = next(each for each in stage.hub.settings.rulesets if each["target"] == "branch")
    assert branch["bypass_actors"] == []
    review = next(rule["parameters"] for rule in branch["rules"] if rule["type"] == "pull_request")
    assert (review["required_approving_review_count"], review["require_code_owner_review"]) == (0, True)
    tags = next(each for each in stage.hub.settings.rulesets if each["name"] == "version-makers")
    assert [actor["actor_id"] for actor in tags["bypass_actors"]] == [int(stage.pusher)]
    text = (stage.clone / ".github/CODEOWNERS").read_text()
    # A service that is added later owns its tuning, but not the files that machines write.
    text = with_service(text, "wine", "@wine")
    assert owners_of(text, "envs/staging/wine/release.yaml") == []
    assert owners_of(text, "envs/staging/wine/values.yaml") == ["@wine"]
    assert owners_of(text, "envs/production/wine/release.yaml") == ["@wine"]
    assert owners_of(text, "argocd/root.yaml") != []


@pytest.mark.parametrize("stage", ["gitlab"], indirect=True)
def test_on_gitlab_nobody_pushes_and_a_pipeline_that_has_not_started_is_reported(
    stage: GitLabStage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.pin("staging", 1)
    assert execute(["branch-protection", "--pusher", stage.pusher]) == 0
    by_pull_requests(stage)
    assert execute(["branch-protection", "--pusher", stage.pusher]) == 0
    assert [each["access_level"] for each in stage.hub.settings.branches["main"]["push_access_levels"]] == [0]
    stage.hub.begun = False
    assert execute(BUMP) == 0
    assert "its pipeline has not started" in " ".join(capsys.readouterr().err.split())
    assert [pull.state for pull in stage.pulls()] == ["open"]


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_owners_of_files_that_machines_write_are_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    by_pull_requests(stage)
    assert execute(["check", "--json"]) in (0, 2)
    assert "merge themselves" not in capsys.readouterr().out
    owners = stage.clone / ".github/CODEOWNERS"
    owners.write_text("".join(f"{line}\n" for line in owners.read_text().splitlines() if line not in MACHINES))
    execute(["check"])
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"add the line `{MACHINES[0]}`, without an owner, at its end" in said
    assert json.dumps(MACHINES[1])[1:-1] in said
