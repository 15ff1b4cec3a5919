"""Proves that the repository's settings agree with its workflows. tests/forges proves that they are applied."""

import json
import re
from typing import Any

from gitops.platform.reader import load_platform
from tests.workflows.workflow import ROOT, read

# The id of the App of GitHub Actions, on github.com.
GITHUB_ACTIONS = 15368

RULESETS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / ".github/rulesets").glob("*.json"))}


def rule(ruleset: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in RULESETS[ruleset]["rules"] if each["type"] == kind)
    parameters: dict[str, Any] = found.get("parameters", {})
    return parameters


def checks() -> set[str]:
    """Return the names of the checks that jobs of pull requests report."""
    names = set()
    for workflow in read().workflows:
        if "pull_request" not in workflow.events:
            continue
        for job in workflow.jobs:
            axes = job.values.get("strategy", {}).get("matrix", {})
            names |= {f"{job.name} ({value})" for values in axes.values() for value in values} if axes else {job.name}
    return names


def test_every_check_that_is_required_exists() -> None:
    required = {each["context"] for each in rule("main", "required_status_checks")["required_status_checks"]}
    assert required <= checks()
    # The check of promotions, and those of other changes.
    assert {"promotion", "e2e", "images"} <= required


def test_only_actions_may_report_what_is_required() -> None:
    """Otherwise any App or token that may write statuses could report that a check passed."""
    assert {
        each.get("integration_id") for each in rule("main", "required_status_checks")["required_status_checks"]
    } == {GITHUB_ACTIONS}


def test_jobs_that_are_required_are_never_skipped_by_a_filter() -> None:
    """A workflow that a path filter skips reports nothing, so a pull request that needs its check waits forever."""
    for workflow in read().workflows:
        assert not workflow.events.get("pull_request")


def test_main_moves_by_pull_request_with_the_owners_approval() -> None:
    review = rule("main", "pull_request")
    assert review["required_approving_review_count"] >= 1
    assert review["require_code_owner_review"]
    assert review["dismiss_stale_reviews_on_push"]
    assert {"deletion", "non_fast_forward", "required_linear_history"} <= {
        each["type"] for each in RULESETS["main"]["rules"]
    }
    assert "merge" not in review["allowed_merge_methods"]


def test_only_the_app_may_pass_and_nobody_moves_a_version() -> None:
    assert [actor["actor_type"] for actor in RULESETS["main"]["bypass_actors"]] == ["Integration"]
    assert RULESETS["versions"]["bypass_actors"] == []
    assert {each["type"] for each in RULESETS["versions"]["rules"]} >= {"update", "deletion"}


def test_only_the_app_creates_a_version_and_only_the_branch_has_its_key() -> None:
    makers = RULESETS["version-makers"]
    assert ([each["type"] for each in makers["rules"]], makers["conditions"]) == (
        ["creation"],
        RULESETS["versions"]["conditions"],
    )
    assert [actor["actor_type"] for actor in makers["bypass_actors"]] == ["Integration"]


def test_promoted_environments_and_their_checks_have_owners() -> None:
    text = (ROOT / ".github/CODEOWNERS").read_text(encoding="utf-8")
    owned = dict(re.findall(r"^(\S+)\s+(@\S+)$", text, re.MULTILINE))
    fed = {f"/envs/{environment.name}/" for environment in load_platform(ROOT).environments if environment.source}
    assert {"*", *fed, "/.github/", "/services/gitops/", "/tools/"} <= owned.keys()
    for path in owned.keys() - {"*"}:
        assert (ROOT / path.strip("/")).is_dir(), path
