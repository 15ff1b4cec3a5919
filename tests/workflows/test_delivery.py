"""Proves by the triggers where a change goes: the default branch leads to bumps and proposals, and no further.

GitHub's filters are evaluated for every kind of push. The commits of machines go through them as well, and start
nothing.
"""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops.platform.reader import load_platform
from tests.workflows.events import Push, dispatched, selected, started
from tests.workflows.workflow import ROOT, Job, read

MAIN = "refs/heads/main"
FILES = read()
IMAGES = ["serving", "serving-sklearn", "serving-batch", "training", "mlflow", "gitops"]
DEFAULT_BRANCH = "github.ref_name == github.event.repository.default_branch"
BY_MACHINES = [
    "envs/anywhere/anything/release.yaml",
    "envs/platform/pins/mlflow.yaml",
    "envs/platform/pins/training.yaml",
    "platform.yaml",
]


def commands(workflow: str) -> set[tuple[str, ...]]:
    return {command[:3] for job in FILES.workflow(workflow).jobs for command in job.commands}


def needed(job: Job) -> set[str]:
    """Return the jobs that must succeed before a job starts."""
    jobs = {each.name: each for each in FILES.workflow(job.workflow).jobs}
    wanted = job.values.get("needs", [])
    first = {wanted} if isinstance(wanted, str) else set(wanted)
    return first.union(*(needed(jobs[name]) for name in first))


def job(workflow: str, name: str) -> Job:
    return next(each for each in FILES.workflow(workflow).jobs if each.name == name)


def test_code_on_the_default_branch_is_delivered() -> None:
    assert started(FILES, Push(MAIN, ("services/serving/src/serving/app.py",))) == {"deliver.yml"}
    assert ("tools/pin-delivered",) in commands("deliver.yml")
    assert needed(job("deliver.yml", "pin")) == {"test", "images", "charts"}


def test_a_deployment_leads_to_pull_requests() -> None:
    """The event that Argo CD sends after a deployment starts the promotion, which only proposes."""
    config = yaml.safe_load((ROOT / "argocd/patches/argocd-notifications-cm.yaml").read_text(encoding="utf-8"))
    kinds = re.findall(r'"event_type": "(\w+)"', config["data"]["template.deployed"])
    assert len(kinds) == 1
    assert dispatched(FILES, kinds[0]) == {"promote.yml"}
    assert {command for command in commands("promote.yml") if command[0].endswith("gitops")} == {
        (".venv/bin/gitops", "promote")
    }


def test_the_workflow_that_trains_a_model_pins_it() -> None:
    assert {(".venv/bin/training", "run", "--model-dir"), ("tools/bump", "--model", "$MODEL")} <= commands("train.yml")


def test_every_folder_of_models_is_trained() -> None:
    """The matrix is the list of `training models`, and platform.yaml names the services of each model."""
    done = subprocess.run(["tools/model-matrix"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    listed = json.loads(done.stdout.removeprefix("models="))
    assert {entry["folder"] for entry in listed} == {
        str(path.parent.relative_to(ROOT)) for path in (ROOT / "models").glob("*/training.yaml")
    }
    served = {service.model for service in load_platform(ROOT).services}
    assert served <= {entry["model"] for entry in listed}


@pytest.mark.parametrize("path", BY_MACHINES)
def test_commits_of_machines_start_nothing(path: str) -> None:
    assert started(FILES, Push(MAIN, (path,))) == set()


def test_a_commit_of_both_is_delivered() -> None:
    assert started(FILES, Push(MAIN, (BY_MACHINES[0], "charts/mlflow/Chart.yaml"))) == {"deliver.yml"}


@given(st.sampled_from(["nightly", "1.2.3", "production/v1", "v1.2.3", "main"]))
def test_tags_start_nothing(tag: str) -> None:
    """A person who may push a tag chooses the commit, and so the workflow that would run."""
    assert started(FILES, Push(f"refs/tags/{tag}", ("services/serving/Dockerfile",))) == set()


def test_other_branches_run_nothing() -> None:
    """Filters cannot name the default branch, so each job depends on one that only runs there."""
    for each in FILES.workflow("deliver.yml").jobs:
        conditions = " ".join(job("deliver.yml", name).values.get("if", "") for name in {each.name, *needed(each)})
        assert DEFAULT_BRANCH in conditions, each.title
        assert "ref_type == 'branch'" in conditions, each.title


def test_a_version_names_what_was_delivered_and_builds_nothing() -> None:
    (release,) = FILES.workflow("release.yml").jobs
    assert set(FILES.workflow("release.yml").events) == {"workflow_dispatch"}
    # By the full ref, because a tag may have the branch's name.
    assert "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)" in release.values["if"]
    assert release.values["environment"] == "delivery"
    (checkout,) = [step.values["with"] for step in release.steps if (step.uses or "").startswith("actions/checkout@")]
    assert "ref" not in checkout, "code that a tag names must not run with the key"
    assert [step.uses for step in release.steps if "build" in (step.uses or "")] == []


def test_changes_of_files_of_images_and_charts_start_a_delivery() -> None:
    paths = FILES.workflow("deliver.yml").events["push"]["paths"]
    for name in IMAGES:
        inputs = subprocess.run(
            ["tools/image", "--inputs", name], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        ).stdout.split()
        assert "Dockerfile" in " ".join(inputs)
        for path in inputs:
            inside = f"{path}/file" if (ROOT / path).is_dir() else path
            assert selected(paths, [inside]), f"{name} is built from {path}, which starts nothing"
    assert selected(paths, ["charts/model-serving/Chart.yaml"])


def test_every_image_is_delivered() -> None:
    assert job("deliver.yml", "images").values["strategy"]["matrix"]["name"] == IMAGES


def test_is_latest_compares_the_delivered_paths() -> None:
    """tools/is-latest compares exactly the paths that start deliver.yml."""
    script = (ROOT / "tools/is-latest").read_text(encoding="utf-8")
    (compared,) = re.findall(r"^delivered=\((.+)\)$", script, re.MULTILINE)
    paths = FILES.workflow("deliver.yml").events["push"]["paths"]
    assert sorted(compared.split()) == sorted(path.removesuffix("/**") for path in paths)


def test_images_are_delivered_once_all_is_tested() -> None:
    assert "test" in needed(job("deliver.yml", "images"))
    assert {"images", "charts"} <= needed(job("deliver.yml", "pin"))


def globs() -> Iterator[tuple[str, str, bool]]:
    yield "charts/**", "charts/mlflow/templates/service.yaml", True
    yield "charts/**", "charts", False
    yield "charts/*", "charts/mlflow/Chart.yaml", False
    yield "**/Chart.yaml", "Chart.yaml", True
    yield "**/Chart.yaml", "charts/mlflow/Chart.yaml", True
    yield "v*", "v1.2.3", True
    yield "v*", "v1/2", False
    yield "*.md", "README.md", True
    yield ".dockerignore", "xdockerignore", False


@pytest.mark.parametrize(("pattern", "name", "expected"), globs())
def test_globs_are_githubs(pattern: str, name: str, expected: bool) -> None:
    assert selected([pattern], [name]) is expected


def test_later_patterns_win() -> None:
    patterns = ["services/**", "!services/gitops/**"]
    assert selected(patterns, ["services/serving/Dockerfile"])
    assert not selected(patterns, ["services/gitops/pyproject.toml"])
    assert selected([*patterns, "services/gitops/pyproject.toml"], ["services/gitops/pyproject.toml"])
