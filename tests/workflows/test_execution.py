"""Proves the last steps of a delivery by running the workflow's own lines: what was built becomes staging's pins.

The remote is a bare repository, the registry a real one, `gitops` the real command; only GitHub's client, which
logs git in, is a stand-in.
"""

import os
from pathlib import Path

import pytest
import yaml

from tests.workflows.fork import VERSIONS, Fork
from tests.workflows.runner import Run
from tests.workflows.workflow import Job, read

STAGING = Path("envs/staging/release.yaml")
OLD = "sha256:" + "1f" * 32


def release(digest: str = OLD, chart: str = "0.0.1", hold: str | None = None) -> str:
    return yaml.safe_dump(
        {
            "release": {"chart": chart, "hold": hold, "metrics": {"accuracy": 0.97}},
            "image": {"repository": "registry.example.com/you/pipeline/serving", "tag": "src-old", "digest": digest},
            "model": {
                "name": "iris-classifier",
                "version": "7",
                "digest": OLD,
                "uri": "s3://mlflow/1/models/m-7/artifacts",
            },
        },
        sort_keys=False,
    )


@pytest.fixture
def remote(fork: Fork) -> Path:
    """The bare repository that the fork pushes to; staging runs something older."""
    path = fork.root.parent / "remote.git"
    (fork.root / STAGING).write_text(release())
    fork.commit()
    fork.git("clone", "--quiet", "--bare", str(fork.root), str(path))
    fork.git("remote", "add", "origin", str(path))
    fork.git("fetch", "--quiet", "origin")
    return path


def job(name: str) -> Job:
    return next(each for each in read().workflow("deliver.yml").jobs if each.name == name)


def pin(fork: Fork) -> Run:
    """Run the job that pins, as after the jobs that build."""
    programs = fork.root / ".cache/programs"
    programs.mkdir(exist_ok=True)
    (programs / "gh").write_text("#!/bin/sh\n[ \"$GH_TOKEN $*\" = 'a token auth setup-git' ]\n")
    (programs / "gh").chmod(0o755)
    run = Run(
        root=fork.root,
        environment={
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "REGISTRY_PREFIX": fork.prefix,
            "PLAIN_HTTP": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        },
        known={"steps.app.outputs.token": "a token"},
    )
    run.job(job("staging"))
    return run


def at_remote(fork: Fork, remote: Path, path: Path) -> dict[str, dict[str, str]]:
    content: dict[str, dict[str, str]] = yaml.safe_load(fork.git("--git-dir", str(remote), "show", f"main:{path}"))
    return content


def log(fork: Fork, remote: Path) -> list[str]:
    return fork.git("--git-dir", str(remote), "log", "--format=%an: %s", "main").splitlines()


def test_what_was_delivered_is_pinned(fork: Fork, remote: Path) -> None:
    references = fork.deliver()
    pin(fork)
    pinned = at_remote(fork, remote, STAGING)
    image = pinned["image"]
    assert f"{image['repository']}:{image['tag']}@{image['digest']}" == references["serving"]
    assert pinned["release"]["chart"] == VERSIONS["model-serving"]
    assert pinned["model"]["version"] == "7"
    for name in ("mlflow", "training"):
        image = at_remote(fork, remote, Path(f"envs/platform/{name}.yaml"))["image"]
        assert f"{image['repository']}:{image['tag']}@{image['digest']}" == references[name]
    subjects = log(fork, remote)
    assert len(subjects) == 4
    assert all(subject.startswith("delivery[bot]: ") for subject in subjects[:2])

    pin(fork)
    assert log(fork, remote) == subjects


def test_an_overtaken_delivery_pins_nothing(fork: Fork, remote: Path) -> None:
    fork.deliver()
    other = Fork(root=fork.root.parent / "other", prefix=fork.prefix, crane=fork.crane)
    fork.git("clone", "--quiet", str(remote), str(other.root))
    (other.root / "services/serving/src/serving/newer.py").write_text("")
    other.commit()
    other.git("push", "--quiet", "origin", "main")
    before = log(fork, remote)
    run = pin(fork)
    assert log(fork, remote) == before
    assert not any("gitops" in line for line in run.ran)


def test_a_commit_of_pins_in_between_does_not_hold_a_delivery_up(fork: Fork, remote: Path) -> None:
    references = fork.deliver()
    other = Fork(root=fork.root.parent / "other", prefix=fork.prefix, crane=fork.crane)
    fork.git("clone", "--quiet", str(remote), str(other.root))
    (other.root / STAGING).write_text(release().replace("version: '7'", "version: '8'"))
    other.commit()
    other.git("push", "--quiet", "origin", "main")
    pin(fork)
    pinned = at_remote(fork, remote, STAGING)
    assert pinned["model"]["version"] == "8"
    assert pinned["image"]["digest"] == references["serving"].partition("@")[2]


def test_a_held_staging_stays_and_the_run_passes(fork: Fork, remote: Path) -> None:
    (fork.root / STAGING).write_text(release(hold="under observation"))
    fork.commit()
    fork.git("push", "--quiet", "origin", "main")
    fork.deliver()
    run = pin(fork)
    assert at_remote(fork, remote, STAGING)["image"]["digest"] == OLD
    assert "::notice::" in run.printed
    assert "under observation" in run.printed


def test_before_the_first_release_only_the_platform_is_pinned(fork: Fork, remote: Path) -> None:
    (fork.root / STAGING).unlink()
    fork.commit()
    fork.git("push", "--quiet", "origin", "main")
    references = fork.deliver()
    run = pin(fork)
    assert not any("bump staging" in line for line in run.ran)
    assert at_remote(fork, remote, Path("envs/platform/mlflow.yaml"))["image"]["digest"] in references["mlflow"]


def test_charts_are_published_by_their_job(fork: Fork, remote: Path) -> None:
    environment = {**os.environ, "REGISTRY_PREFIX": fork.prefix, "PLAIN_HTTP": "1"}
    Run(root=fork.root, environment=environment).job(job("charts"))
    assert fork.run("tools/image-digest", f"{fork.prefix}/charts/model-serving:{VERSIONS['model-serving']}").stdout
