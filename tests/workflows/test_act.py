"""Runs the workflows themselves, from push to promotion and from training to release: every job, by act.

The registry, MLflow, Postgres and the store are real, and so are this project's commands. The remote is a bare
repository, and GitHub's API is the stand-in of its adapter's tests. Not run: functions that only GitHub has (OIDC,
attestations, approvals of environments), `e2e`, `rendered` and `comment` of `ci` (they need Docker or the internet),
and `nightly`.
"""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from embedded.processes import Server
from services.gitops.tests.conftest import git
from services.gitops.tests.github import SLUG, TOKEN, GitHub, serving
from tests.forges.bare import merged
from tests.integration.conftest import mlflow_on_s3, postgres_uri, s3  # noqa: F401  (fixtures)
from tests.integration.stores import S3Store
from tests.support.tree import copy_tree
from tests.workflows.act import PROGRAMS, STAND_INS, Runner, WorkflowRun, used_actions
from tests.workflows.conftest import serving_registry
from tests.workflows.fork import VERSIONS
from tests.workflows.workflow import ROOT

BRANCH = "main"
OLD = "sha256:" + "1f" * 32
STAGING, PRODUCTION = Path("envs/staging/iris/release.yaml"), Path("envs/production/iris/release.yaml")
MODEL = "iris"
VERSION = "9.9.9"
# The targets of jobs of CI that are not run: they take long, include this test, or need Docker.
SKIPPED = ("test", "images")


class Story(msgspec.Struct, frozen=True):
    """A fork with its remote, its forge, and the runner of its workflows."""

    folder: Path
    remote: Path
    hub: GitHub
    runner: Runner

    def git(self, *arguments: str) -> str:
        """Run git in the fork."""
        return git(self.folder, *arguments)

    def commit(self, message: str) -> None:
        """Commit everything, and push it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", BRANCH)

    def follow(self) -> None:
        """Check out the remote's newest commit."""
        self.git("pull", "--quiet", "--ff-only", "origin", BRANCH)

    def run(self, workflow: str, event: str, payload: Mapping[str, Any] | None = None, **options: Any) -> WorkflowRun:
        """Run a workflow at the branch's newest commit."""
        self.follow()
        about = {"repository": {"default_branch": BRANCH, "full_name": SLUG}, "ref": f"refs/heads/{BRANCH}"}
        path = f".github/workflows/{workflow}.yml"
        return self.runner.run(self.folder, path, event, {**about, **(payload or {})}, **options)

    def judged(self, branch: str) -> WorkflowRun:
        """Run the checks of a pull request that moves pins."""
        return self.proposed("promote-checks", branch)

    def proposed(self, workflow: str, branch: str, **options: Any) -> WorkflowRun:
        """Run a workflow for a pull request from a branch."""
        revision = self.git("ls-remote", "origin", branch).split()[0]
        self.git("fetch", "--quiet", "origin", branch)
        head = {"sha": revision, "ref": branch, "repo": {"full_name": SLUG}}
        base = {"sha": self.git("rev-parse", f"origin/{BRANCH}"), "ref": BRANCH}
        return self.run(
            workflow, "pull_request", {"pull_request": {"number": 1, "head": head, "base": base}}, **options
        )

    def pins(self, path: Path) -> dict[str, Any]:
        """Return the pins in a file at the remote."""
        content: dict[str, Any] = yaml.safe_load(self.git("show", f"origin/{BRANCH}:{path}"))
        return content


@pytest.fixture
def story(
    tmp_path: Path,
    tools: Path,
    mlflow_on_s3: Server,  # noqa: F811
    s3: S3Store,  # noqa: F811
) -> Iterator[Story]:
    fork, bare = tmp_path / "fork", tmp_path / "remote.git"
    copy_tree(fork, without=("tests/",))
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", BRANCH, bare], check=True)
    with serving_registry(tools, "127.0.0.1") as registry, serving(GitHub(bare)) as hub:
        prefix = f"{registry}/{SLUG}"
        runner = Runner(
            folder=tmp_path,
            remote=str(bare),
            variables={
                "DELIVERY_CLIENT_ID": "an App",
                "MLFLOW_TRACKING_URI": mlflow_on_s3.url,
                "S3_ENDPOINT_URL": s3.url,
            },
            secrets={
                "DELIVERY_PRIVATE_KEY": TOKEN,
                "GITHUB_TOKEN": "of the workflow",
                "TRAINING_S3_ACCESS_KEY_ID": s3.writer.access_key,
                "TRAINING_S3_SECRET_ACCESS_KEY": s3.writer.secret_key,
            },
            environment={
                "GITHUB_API_URL": hub.url,
                "GITHUB_REPOSITORY": SLUG,
                "GITOPS_COSIGN_KEY": "cosign.pub",
                "GITOPS_MIN_AGE": "0",
                # A forge's runners cannot reach a cluster.
                "KUBECONFIG": str(tmp_path / "no-kubeconfig"),
                "CONTAINER_BUILD": f"{PROGRAMS}/container build",
                "CONTAINER_PUSH": f"{PROGRAMS}/container push",
            },
            skipped=SKIPPED,
        )
        made = Story(fork, bare, hub, runner)
        made.git("init", "--quiet", "--initial-branch", BRANCH)
        made.git("remote", "add", "origin", str(bare))
        subprocess.run(
            [ROOT / ".venv/bin/gitops", "adopt", "--repo", f"https://github.com/{SLUG}.git", "--branch", BRANCH,
             "--registry", prefix, "--registry-plain-http"],
            cwd=fork, check=True, capture_output=True,
        )  # fmt: skip
        (fork / STAGING).write_text(_release(prefix))
        made.commit("first")
        yield made


def _release(prefix: str) -> str:
    version = VERSIONS["model-serving"]
    return yaml.safe_dump({
        "release": {"chart": version, "hold": None, "metrics": {"accuracy": 0.9}},
        "image": {"repository": f"{prefix}/serving", "tag": "old", "digest": OLD},
        "model": {"name": "iris-classifier", "version": "1", "digest": OLD, "uri": "s3://mlflow/1/models/m-1/artifacts"},
    })  # fmt: skip


def test_each_action_that_the_workflows_use_has_a_stand_in_with_the_same_inputs() -> None:
    """Otherwise a stand-in could not use all inputs of the action."""
    used = {name for name, _ in used_actions(ROOT)}
    there = {str(path.parent.relative_to(STAND_INS)) for path in STAND_INS.glob("*/*/action.yml")}
    assert there == used
    for path in sorted([*ROOT.glob(".*/workflows/*.yml"), *ROOT.glob(".*/actions/*/action.yml")]):
        for step in _steps(yaml.load(path.read_text(), Loader=yaml.BaseLoader)):  # noqa: S506  (only text)
            name = step.get("uses", "./").partition("@")[0]
            if not name.startswith("./"):
                known = yaml.safe_load((STAND_INS / name / "action.yml").read_text()).get("inputs", {})
                assert step.get("with", {}).keys() <= known.keys(), f"{path.name}: {name}"


def _steps(content: Any) -> Iterator[Mapping[str, Any]]:
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    for part in parts:
        if isinstance(part, dict) and "uses" in part:
            yield part
        else:
            yield from _steps(part)


@pytest.mark.timeout(900)
def test_from_push_to_promotion_and_from_training_to_release(story: Story, record_property: Any) -> None:
    parts = (_delivered, _promoted, _trained, _released, _checked)
    jobs = [job for part in parts for run in part(story) for job in run.jobs]
    for job in jobs:
        record_property("summary", f"{job.title}: {job.result} after {job.seconds:.0f} s")


def _delivered(story: Story) -> Iterator[WorkflowRun]:
    """A push is tested, built, signed, published and pinned by machines, and equal content is built only once."""
    yield story.run("deliver", "push").proved()
    story.follow()
    image = story.pins(STAGING)["image"]
    assert image["digest"] != OLD
    assert image["tag"].startswith("src-")
    built = _images(story)
    again = story.run("deliver", "push", job="images").proved()
    assert _images(story) == built
    yield again


def _images(story: Story) -> int:
    """Return how many images were scanned; only new images are."""
    return sum(call.startswith("trivy ") for call in story.runner.calls)


def _promoted(story: Story) -> Iterator[WorkflowRun]:
    """A deployment leads to a pull request that passes its checks; one with other changes does not pass."""
    yield story.run("promote", "repository_dispatch", {"action": "deployed"}).proved()
    (pull,) = story.hub.opened()
    branch = pull["head"]["ref"]
    yield story.judged(branch).proved()
    assert not story.judged(_tampered(story, branch)).passed
    merged(story.remote, branch)
    story.follow()
    assert story.pins(PRODUCTION)["image"] == story.pins(STAGING)["image"]


def _tampered(story: Story, branch: str) -> str:
    """Push the same proposal with another digest, and with its own copy of the judging code."""
    story.git("fetch", "--quiet", "origin", branch)
    story.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    file = story.folder / PRODUCTION
    file.write_text(file.read_text().replace(story.pins(STAGING)["image"]["digest"], OLD))
    (story.folder / "tools/judge").write_text("#!/bin/sh\nexit 0\n")
    story.git("commit", "--quiet", "--all", "--message", "Look away")
    story.git("push", "--quiet", "origin", "HEAD:refs/heads/tampered")
    story.git("checkout", "--quiet", BRANCH)
    return "tampered"


def _trained(story: Story) -> Iterator[WorkflowRun]:
    """A model is trained and registered, and machines pin it."""
    before = story.pins(STAGING)["model"]
    yield story.run("train", "workflow_dispatch", inputs={"model": MODEL}).proved()
    story.follow()
    after = story.pins(STAGING)["model"]
    assert after["digest"] != before["digest"]
    assert after["uri"].startswith("s3://")


def _released(story: Story) -> Iterator[WorkflowRun]:
    """A version names the delivered images and charts."""
    changes = story.folder / "CHANGELOG.md"
    changes.write_text(changes.read_text() + f"\n## [{VERSION}]\n\n- It serves.\n")
    story.commit("Say what is new")
    yield story.run("release", "workflow_dispatch", inputs={"tag": f"v{VERSION}"}).proved()
    assert any(call.startswith(f"gh release create v{VERSION} ") for call in story.runner.calls)


def _checked(story: Story) -> Iterator[WorkflowRun]:
    """A pull request is tested, and its images are built."""
    for job in ("test", "images"):
        yield story.proposed("ci", BRANCH, job=job).proved()
    assert {"make test", "make images"} <= set(story.runner.calls)
