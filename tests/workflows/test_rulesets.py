"""Proves that the repository's settings agree with its workflows, and that tools/branch-protection writes them all.

GitHub's side is a stand-in for the `gh` program that notes every call, for nothing here may change a real repository.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops.platform.reader import load_platform
from tests.workflows.workflow import ROOT, read

# The App that GitHub Actions acts as, on github.com: https://api.github.com/apps/github-actions says so.
GITHUB_ACTIONS = 15368
# The same on a server of one's own.
ACTIONS_ELSEWHERE = 12

RULESETS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / ".github/rulesets").glob("*.json"))}
# Answers like `gh api` with --jq: rulesets that are there already as their numbers, and no policies.
GH = """#!/usr/bin/env python3
import json, os, pathlib, sys
log = pathlib.Path(os.environ["CALLS"])
arguments = sys.argv[1:]
body = sys.stdin.read() if "--input" in arguments else ""
log.open("a").write(json.dumps([arguments, json.loads(body) if body else None]) + "\\n")
if arguments[:2] == ["api", "apps/github-actions"]:
    print(12)
if "--method" not in arguments and "/rulesets" in " ".join(arguments) and os.environ.get("THERE"):
    print(7 if '"main"' in " ".join(arguments) else 8)
if "--method" not in arguments and os.environ.get("THERE") and "policies" in " ".join(arguments):
    print("main\\nv*")
"""


def rule(ruleset: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in RULESETS[ruleset]["rules"] if each["type"] == kind)
    parameters: dict[str, Any] = found.get("parameters", {})
    return parameters


def checks() -> set[str]:
    """The names under which the jobs of pull requests report."""
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
    # What decides over promotions, and what proves the rest.
    assert {"promotion", "e2e", "images"} <= required


def test_only_actions_may_report_what_is_required() -> None:
    """Without it any App or token that may write statuses could say that a check passed."""
    assert {
        each.get("integration_id") for each in rule("main", "required_status_checks")["required_status_checks"]
    } == {GITHUB_ACTIONS}


def test_jobs_that_are_required_are_never_skipped_by_a_filter() -> None:
    """A workflow that a path filter holds back reports nothing, and a pull request that needs it waits forever."""
    for workflow in read().workflows:
        assert not workflow.events.get("pull_request")


def test_main_moves_by_pull_request_and_the_owners_word() -> None:
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


def test_what_is_fed_and_what_judges_it_have_owners() -> None:
    text = (ROOT / ".github/CODEOWNERS").read_text(encoding="utf-8")
    owned = dict(re.findall(r"^(\S+)\s+(@\S+)$", text, re.MULTILINE))
    fed = {f"/envs/{environment.name}/" for environment in load_platform(ROOT).environments if environment.source}
    assert {"*", *fed, "/.github/", "/services/gitops/", "/tools/"} <= owned.keys()
    for path in owned.keys() - {"*"}:
        assert (ROOT / path.strip("/")).is_dir(), path


def apply(tmp_path: Path, *arguments: str, there: bool = False) -> tuple[int, list[tuple[list[str], Any]]]:
    program = tmp_path / "gh"
    program.write_text(GH)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    calls.write_text("")
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "GH_REPO": "you/pipeline",
        "CALLS": str(calls),
        "THERE": "1" if there else "",
    }
    done = subprocess.run(
        [ROOT / "tools/branch-protection", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, [(words, body) for words, body in map(json.loads, calls.read_text().splitlines())]


def written(calls: list[tuple[list[str], Any]]) -> list[str]:
    return [
        f"{words[words.index('--method') + 1]} {words[words.index('--method') + 2]}"
        for words, _ in calls
        if "--method" in words
    ]


def test_a_fresh_repository_gets_all_settings(tmp_path: Path) -> None:
    code, calls = apply(tmp_path, "4711")
    assert code == 0
    assert written(calls) == [
        "POST repos/you/pipeline/rulesets",
        "POST repos/you/pipeline/rulesets",
        "PUT repos/you/pipeline/environments/delivery",
        "POST repos/you/pipeline/environments/delivery/deployment-branch-policies",
        "POST repos/you/pipeline/environments/delivery/deployment-branch-policies",
        "PUT repos/you/pipeline/actions/permissions/workflow",
        "PATCH repos/you/pipeline",
    ]
    rulesets = {body["name"]: body for _, body in calls if body and "rules" in body}
    assert rulesets["main"]["bypass_actors"] == [
        {"actor_id": 4711, "actor_type": "Integration", "bypass_mode": "always"}
    ]
    assert rulesets["versions"]["bypass_actors"] == []
    (checked,) = [rule for rule in rulesets["main"]["rules"] if rule["type"] == "required_status_checks"]
    required = checked["parameters"]["required_status_checks"]
    assert {entry["integration_id"] for entry in required} == {ACTIONS_ELSEWHERE}


def test_a_second_time_changes_what_is_there(tmp_path: Path) -> None:
    code, calls = apply(tmp_path, "4711", there=True)
    assert code == 0
    assert written(calls)[:3] == [
        "PUT repos/you/pipeline/rulesets/7",
        "PUT repos/you/pipeline/rulesets/8",
        "PUT repos/you/pipeline/environments/delivery",
    ]
    assert not [line for line in written(calls) if line.endswith("deployment-branch-policies")]


@pytest.mark.parametrize("arguments", [(), ("app",)])
def test_without_the_number_of_the_app_nothing_is_written(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, calls = apply(tmp_path, *arguments)
    assert (code, calls) == (2, [])
