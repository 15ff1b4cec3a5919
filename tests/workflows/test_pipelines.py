"""Proves that the pipelines of all forges run the same commands, are valid, and report the required checks."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflows.workflow import ROOT, commands_of

JOBS: Mapping[str, Mapping[str, Sequence[str]]] = yaml.safe_load(
    (ROOT / "tests/workflows/jobs.yaml").read_text(encoding="utf-8")
)
# Commands that only set a job up. All others of the project must be in the list.
_SETS_UP = re.compile(r"make \.venv/\.(dev|run)|tools/install .*|tools/k3d-cluster (env|down)|tools/registry-login")
_OWN = re.compile(r"make |tools/|\.venv/")
_GITEA = sorted((ROOT / ".gitea/workflows").glob("*.yml"))
_GITLAB = ROOT / ".gitlab-ci.yml"
# Jobs on GitHub that only show something.
_SHOWING = {("ci", "rendered"), ("ci", "comment")}


def scripts(forge: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each job with shell: its pipeline, its name, its lines."""
    if forge == "gitlab":
        _, jobs = gitlab()
        for pipeline, names in JOBS.items():
            for name in names:
                job = jobs.get(f"{pipeline}:{name}") or jobs[name]
                yield pipeline, name, [str(line) for line in job["script"]]
        return
    for pipeline in JOBS:
        workflow = yaml.safe_load((ROOT / f".{forge}/workflows/{pipeline}.yml").read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            yield pipeline, name, [step["run"] for step in job["steps"] if "run" in step]


def gitlab() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return GitLab's two documents: the header with the inputs, and the pipeline."""
    heading, jobs = yaml.safe_load_all(_GITLAB.read_text(encoding="utf-8"))
    return heading, jobs


def own(lines: Sequence[str]) -> list[str]:
    """Return the project's own commands in lines of shell, without those that only set up."""
    words = (" ".join(command) for line in lines for command in commands_of(line))
    return [command for command in words if _OWN.match(command) and not _SETS_UP.fullmatch(command)]


@pytest.mark.parametrize("forge", ["github", "gitea", "gitlab"])
def test_every_forge_runs_the_commands_of_the_list(forge: str) -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for pipeline, name, lines in scripts(forge):
        if (pipeline, name) in _SHOWING:
            continue
        wanted = JOBS[pipeline][name]
        commands = own(lines)
        assert len(commands) == len(wanted), (pipeline, name, commands)
        assert all(command.startswith(each) for command, each in zip(commands, wanted, strict=True)), commands
        found.setdefault(pipeline, {})[name] = commands
    assert {pipeline: set(jobs) for pipeline, jobs in found.items()} == {name: set(jobs) for name, jobs in JOBS.items()}


def test_the_same_jobs_log_in_to_the_registry() -> None:
    """A job that reads charts or images needs a login if the registry is private."""
    wanted = set()
    for pipeline in JOBS:
        workflow = yaml.safe_load((ROOT / f".github/workflows/{pipeline}.yml").read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            if any(step.get("uses", "").startswith("docker/login-action@") for step in job["steps"]):
                wanted.add((pipeline, name))
    assert ("promote", "promote") in wanted
    for forge in ("gitea", "gitlab"):
        found = set()
        for pipeline, name, lines in scripts(forge):
            if "tools/registry-login" in lines:
                found.add((pipeline, name))
                login = lines.index("tools/registry-login")
                # It uses crane, and the commands that need it come later.
                assert any(re.search(r"tools/install .*\bcrane\b", line) for line in lines[:login]), (forge, name)
                assert own(lines[login:])[-1].startswith(JOBS[pipeline][name][-1]), (forge, name)
        assert found == wanted, forge


def test_a_pull_request_gets_no_login_that_writes() -> None:
    """On Gitea, the proposal's own workflow runs, and gets secrets if its branch is in the repository."""
    for path in _GITEA:
        text = path.read_text(encoding="utf-8")
        if "on: pull_request" in text:
            assert set(re.findall(r"secrets\.(\w+)", text)) <= {"REGISTRY_READ_USERNAME", "REGISTRY_READ_PASSWORD"}


def test_every_file_of_pipelines_is_in_the_list() -> None:
    assert {path.stem for path in _GITEA} == set(JOBS)
    listed = {name for jobs in JOBS.values() for name in jobs}
    _, jobs = gitlab()
    there = {name for name, job in jobs.items() if isinstance(job, dict) and "script" in job}
    assert {name.rpartition(":")[2] for name in there} == listed
    assert {name.partition(":")[0] for name in there if ":" in name} <= JOBS.keys()


def test_the_same_images_are_delivered_for_the_same_paths() -> None:
    """All forges have those of GitHub's workflow, which other tests check."""
    _, jobs = gitlab()
    there, images = (
        [jobs["workflow"]["rules"][-1]["changes"]],
        [jobs["deliver:images"]["parallel"]["matrix"][0]["NAME"]],
    )
    for forge in ("github", "gitea"):
        text = (ROOT / f".{forge}/workflows/deliver.yml").read_text(encoding="utf-8")
        workflow = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  (in YAML 1.1, `on` would be a boolean)
        there.append(workflow["on"]["push"]["paths"])
        images.append(workflow["jobs"]["images"]["strategy"]["matrix"]["name"])
    assert there[0] == there[1] == there[2]
    assert images[0] == images[1] == images[2]


def test_what_the_branch_requires_is_reported_on_gitea() -> None:
    """The names are those of the rulesets. Otherwise no merge would be possible."""
    ruleset = json.loads((ROOT / ".github/rulesets/main.json").read_text(encoding="utf-8"))
    (checks,) = [rule["parameters"] for rule in ruleset["rules"] if rule["type"] == "required_status_checks"]
    reported = set()
    for path in _GITEA:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            axes = job.get("strategy", {}).get("matrix", {})
            reported |= {f"{name} ({value})" for values in axes.values() for value in values} if axes else {name}
    assert {each["context"] for each in checks["required_status_checks"]} <= reported


@pytest.mark.parametrize("forge", ["github", "gitea"])
def test_releases_are_watched_where_there_is_a_prometheus(forge: str) -> None:
    """Without one, it would fail every five minutes."""
    workflow = yaml.safe_load((ROOT / f".{forge}/workflows/watch.yml").read_text(encoding="utf-8"))
    assert "vars.GITOPS_PROMETHEUS_URL != ''" in workflow["jobs"]["watch"]["if"]


def test_delivery_and_promotion_use_the_same_key() -> None:
    """If GitHub's workflow does not sign, a promotion needs the key to pass."""
    _, jobs = gitlab()
    judging = jobs["promotion"]["variables"]["GITOPS_COSIGN_KEY"]
    assert judging == jobs[".delivery"]["variables"]["GITOPS_COSIGN_KEY"]
    deliver, checks = (
        yaml.safe_load((ROOT / f".gitea/workflows/{name}.yml").read_text(encoding="utf-8"))
        for name in ("deliver", "promote-checks")
    )
    (judge,) = [step for step in checks["jobs"]["promotion"]["steps"] if "tools/judge" in step.get("run", "")]
    assert judge["env"]["GITOPS_COSIGN_KEY"] == deliver["env"]["GITOPS_COSIGN_KEY"]


@pytest.mark.parametrize("key", ["cosign.pub", "/etc/keys/cosign.pub", "k8s://ml-pipeline/cosign"])
def test_a_proposal_is_judged_by_the_key_of_the_branch(key: str, tmp_path: Path) -> None:
    """The file of that name in the proposal may be a key of the proposal's author."""
    base, proposal = tmp_path / "base", tmp_path / "proposal"
    (base / "tools").mkdir(parents=True)
    (base / ".venv/bin").mkdir(parents=True)
    proposal.mkdir()
    shutil.copy(ROOT / "tools/judge", base / "tools/judge")
    gitops = base / ".venv/bin/gitops"
    gitops.write_text('#!/bin/sh\n[ "$1" != check ] || echo "$GITOPS_COSIGN_KEY"\n')
    gitops.chmod(0o755)
    command = [str(base / "tools/judge"), str(proposal), "main"]
    environment = {**os.environ, "GITOPS_COSIGN_KEY": key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == (f"{base}/{key}" if key == "cosign.pub" else key)


@pytest.mark.parametrize("path", _GITEA, ids=lambda path: path.stem)
def test_gitea_reads_what_github_reads(path: Path) -> None:
    """Gitea's workflows have GitHub's form. The labels of runners are each owner's choice."""
    done = subprocess.run(
        [ROOT / ".cache/tools/bin/actionlint", "-shellcheck=", "-pyflakes=", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_gitlabs_pipeline_is_valid(tmp_path: Path) -> None:
    """Checked with GitLab's published schema, which check-jsonschema contains."""
    for number, document in enumerate(gitlab()):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run(
            ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", file],
            cwd=ROOT,
            env={"PATH": f"{ROOT / '.venv/bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_an_invalid_pipeline(tmp_path: Path) -> None:
    """A check that cannot fail proves nothing."""
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"test": {"script": {"make": "test"}}}), encoding="utf-8")
    command = [str(ROOT / ".venv/bin/check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(file)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
