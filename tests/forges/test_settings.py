"""`gitops branch-protection` and `gitops doctor` on every forge: written settings are found, missing ones reported."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import commit_all, git
from services.gitops.tests.github import ACTIONS_APP, FORBIDDEN
from services.gitops.tests.mlflow_answers import answering, as_mlflow_of_many
from tests.forges.gitea import GiteaStage
from tests.forges.github import GitHubStage
from tests.forges.gitlab import GitLabStage
from tests.forges.stages import Stage

HOOK = "https://argocd.example.com/api/webhook"


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, list[str]]]:
    """Return the exit code, and the states of each part."""
    capsys.readouterr()
    code = execute(["doctor", "--json", *options])
    found: dict[str, list[str]] = {}
    told = capsys.readouterr()
    assert told.out, told.err
    for finding in json.loads(told.out):
        found.setdefault(finding["part"], []).append(finding["state"])
    return code, found


def protect(stage: Stage) -> int:
    return execute(["branch-protection", "--pusher", stage.pusher])


def test_protection_is_written_and_then_found(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys)
    assert code == 1
    assert "missing" in found["protection"]
    assert found["webhook"] == ["missing"]
    assert doctor(capsys, "--without", "protection", "--without", "webhook")[0] == 0

    assert protect(stage) == 0
    assert "merge" in capsys.readouterr().out
    stage.hook(HOOK)
    code, found = doctor(capsys)
    assert (code, {state for states in found.values() for state in states}) == (0, {"there"})
    # A second run changes existing rules and adds none.
    assert protect(stage) == 0
    assert doctor(capsys)[0] == 0


def test_what_is_missing_is_reported_in_sentences(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["doctor"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "gitops branch-protection writes it." in said
    assert "does not wait for e2e, images, promotion" in said or "promotion: gitops branch-protection" in said
    assert "No webhook reports pushes to Argo CD (https://ARGOCD/api/webhook)" in said


def test_without_a_token_there_is_one_thing_to_do(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(stage.variables.token)
    code, found = doctor(capsys)
    assert (code, found) == (1, {"token": ["missing"], "push": ["there"]})
    stage.hold_token("none")
    code, found = doctor(capsys)
    assert (code, found) == (1, {"token": ["missing"], "push": ["there"]})


def test_a_token_that_may_only_read_is_found_before_anything_fails(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.hold_token("reading")
    assert execute(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"{stage.variables.token} may not open pull requests." in said
    assert stage.pulls() == []
    assert protect(stage) == 2
    assert "needs the rights to" in capsys.readouterr().err


def test_missing_rights_to_push_are_found(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    git(stage.clone, "remote", "set-url", "--push", "origin", str(stage.clone / "nowhere"))
    code, found = doctor(capsys)
    assert (code, found["push"]) == (1, ["missing"])


@pytest.mark.parametrize("stage", ["gitea"], indirect=True)
def test_a_real_protection_does_what_it_says(stage: GiteaStage, capsys: pytest.CaptureFixture[str]) -> None:
    """On a real server, only the pusher can push, and a merge waits for an approval and every check."""
    stage.pin("staging", 1)
    assert protect(stage) == 0
    assert execute(["promote"]) == 0
    branch = stage.opened()[0].branch
    assert stage.try_push() == "refused"
    assert stage.try_merge(1) == "refused"
    for check in ("test (3.11)", "test (3.12)", "images", "e2e"):
        stage.report(branch, f"ci / {check} (pull_request)", passed=True)
    stage.report(branch, "promotion", passed=True)
    assert stage.try_merge(1) == "refused"
    stage.review(1, approve=True)
    assert stage.try_merge(1) == "merged"
    # The machine user can still bump.
    stage.pin("staging", 2)


@pytest.mark.parametrize("stage", ["gitea"], indirect=True)
def test_a_leaked_token_of_the_machine_user_moves_pins_and_nothing_else(
    stage: GiteaStage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server checks every file of a push. A shadow in the last environment goes through a pull request."""
    stage.pin("production", 2)
    assert protect(stage) == 0
    capsys.readouterr()
    stage.pin("staging", 1)
    before = stage.head("main")
    for path in (
        "apps/extra/mine.yaml",
        "envs/production/iris/release.yaml",
        "envs/staging/iris/values.yaml",
        "envs/staging/iris/deeper/release.yaml",
        ".gitea/workflows/mine.yml",
        "platform.yaml",
    ):
        assert stage.push_as_machine(path) == "refused", path
        # Also not together with pins that it may push.
        assert stage.push_as_machine(path, "envs/staging/iris/release.yaml") == "refused", path
    with answering(as_mlflow_of_many) as (url, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert execute(["shadow", "production/iris", "--model", "1"]) == 2
        assert "propose the change instead: --pr." in " ".join(capsys.readouterr().err.split())
        assert execute(["shadow", "production/iris", "--model", "1", "--pr"]) == 0
    assert stage.head("main") == before
    assert stage.push_as_machine("envs/platform/pins/mlflow.yaml") == "pushed"

    # With another environment, the rule is different.
    file = stage.clone / "platform.yaml"
    file.write_text(file.read_text().replace("{name: staging}", "{name: staging}\n  - {name: trial}"))
    code, found = doctor(capsys, "--without", "webhook")
    assert (code, found["protection"]) == (1, ["missing"])
    assert protect(stage) == 0
    assert doctor(capsys, "--without", "webhook")[0] == 0


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_github_gets_rulesets_an_environment_and_settings(stage: GitHubStage) -> None:
    assert protect(stage) == 0
    settings = stage.hub.settings
    assert [what for what, _ in settings.written] == [
        "POST /rulesets",
        "POST /rulesets",
        "POST /rulesets",
        "PUT /environments/delivery",
        "POST /environments/delivery/deployment-branch-policies",
        "PUT /actions/permissions/workflow",
        "PATCH ",
    ]
    passing = {each["name"]: each["bypass_actors"] for each in settings.rulesets}
    app = [{"actor_id": 4711, "actor_type": "Integration", "bypass_mode": "always"}]
    assert (passing["main"], passing["version-makers"]) == (app, app)
    assert passing["versions"] == []
    (main,) = [each for each in settings.rulesets if each["name"] == "main"]
    (checked,) = [rule for rule in main["rules"] if rule["type"] == "required_status_checks"]
    required = checked["parameters"]["required_status_checks"]
    assert {each["integration_id"] for each in required} == {ACTIONS_APP}
    settings.written.clear()
    assert protect(stage) == 0
    assert [what for what, _ in settings.written][:3] == ["PUT /rulesets/7", "PUT /rulesets/8", "PUT /rulesets/9"]


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_on_github_merge_methods_are_those_of_the_rules(stage: GitHubStage, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository that does not allow the merge method of its rules can merge nothing."""
    file = stage.clone / ".github/rulesets/main.json"
    file.write_text(file.read_text().replace('["squash", "rebase"]', '["merge"]'))
    assert protect(stage) == 0
    allowed = {name: value for name, value in stage.hub.settings.written[-1][1].items() if "_merge" in name}
    assert allowed == {
        "allow_merge_commit": True,
        "allow_squash_merge": False,
        "allow_rebase_merge": False,
        "allow_auto_merge": False,
        "delete_branch_on_merge": True,
    }
    assert "merges are merge," in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_on_github_the_key_of_delivery_is_only_for_the_branch(stage: GitHubStage) -> None:
    """An earlier set-up also let in version tags, and anybody who may write may push a tag."""
    settings = stage.hub.settings
    earlier = [("main", "tag"), ("v*", "tag"), ("feature", "branch"), ("main", "branch")]
    settings.policies = [{"id": number, "name": name, "type": kind} for number, (name, kind) in enumerate(earlier)]
    assert protect(stage) == 0
    assert [(each["name"], each["type"]) for each in settings.policies] == [("main", "branch")]


@pytest.mark.parametrize("stage", ["github"], indirect=True)
def test_a_token_that_must_not_see_settings_says_so(stage: GitHubStage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.hub.settings.administers = False
    stage.hub.settings.rulesets = [{"target": "branch", "rules": []}]
    code, found = doctor(capsys)
    assert (code, found["webhook"]) == (1, ["unseen"])


@pytest.mark.parametrize("stage", ["gitlab"], indirect=True)
def test_a_token_that_expires_soon_is_reported(stage: GitLabStage, capsys: pytest.CaptureFixture[str]) -> None:
    today = datetime.now(UTC).date()
    stage.hub.expires = str(today + timedelta(days=3))
    assert doctor(capsys)[1]["token"] == ["missing"]
    stage.hub.expires = str(today + timedelta(days=300))
    assert doctor(capsys)[1]["token"] == ["there"]


@pytest.mark.parametrize("stage", ["gitlab"], indirect=True)
def test_a_free_gitlab_says_what_it_cannot_require(stage: GitLabStage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.hub.settings.premium = False
    assert protect(stage) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "only Premium can name single users: make robot a maintainer" in said
    assert "approvals: only Premium requires them" in said
    code, found = doctor(capsys, "--without", "webhook")
    assert (code, found["protection"]) == (0, ["unseen", "there"])


@pytest.mark.parametrize("stage", ["gitlab"], indirect=True)
def test_gitlab_is_written_as_its_api_documents_it(stage: GitLabStage) -> None:
    assert protect(stage) == 0
    settings = stage.hub.settings
    assert [level["user_id"] for level in settings.branches["main"]["push_access_levels"]] == [5]
    assert (settings.tags, [rule["approvals_required"] for rule in settings.rules]) == (["v*"], [1])
    assert settings.project["merge_method"] == "ff"
    assert settings.approvals["reset_approvals_on_push"]


def test_an_impossible_pusher_is_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["branch-protection", "--pusher", "no-such-user"]) == 2
    said = capsys.readouterr().err
    assert "no-such-user" in said or "not the number of a GitHub App" in said


def test_missing_rules_are_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    git(stage.clone, "rm", "-r", "--quiet", ".github/rulesets")
    commit_all(stage.clone, "gone")
    assert protect(stage) == 2
    assert "git checkout HEAD -- .github/rulesets" in capsys.readouterr().err


def test_the_next_run_writes_what_was_cut_off(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    written: list[str] = []

    def rule(request: str) -> object:
        if request.startswith("GET "):
            return None
        written.append(request)
        return FORBIDDEN if len(written) == 2 else None

    stage.front.rule = rule  # type: ignore[assignment]
    assert protect(stage) == 2
    assert "Run it again" in capsys.readouterr().err
    stage.front.rule = lambda _: None
    assert protect(stage) == 0
    assert doctor(capsys, "--without", "webhook")[0] == 0
