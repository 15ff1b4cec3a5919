"""Proves the last steps of a delivery by running the workflow's own lines: they pin what was built.

The remote is a bare repository, and registry and `gitops` are real. Only GitHub's client, which logs git in, is a
stand-in.
"""

import os
from pathlib import Path

import pytest
import yaml

from tests.workflows.fork import TARGETS, VERSIONS, Fork
from tests.workflows.runner import Run
from tests.workflows.workflow import ROOT, Job, read

OLD = "sha256:" + "1f" * 32
FLOWERS, BOTTLES, LIVE = (Path("envs", TARGETS[number], "release.yaml") for number in (0, 3, 4))
BRANCH = "trunk"


def release(digest: str = OLD, chart: str = "0.0.1", hold: str | None = None, model: str = "flowers-classifier") -> str:
    return yaml.safe_dump(
        {
            "release": {"chart": chart, "hold": hold, "metrics": {"accuracy": 0.97}},
            "image": {"repository": "registry.example.com/you/pipeline/serving", "tag": "src-old", "digest": digest},
            "model": {
                "name": model,
                "version": "7",
                "digest": OLD,
                "uri": "s3://mlflow/1/models/m-7/artifacts",
            },
        },
        sort_keys=False,
    )


@pytest.fixture
def remote(fork: Fork) -> Path:
    """The bare remote of the fork, where three services run an older version, and the others nothing."""
    path = fork.root.parent / "remote.git"
    (fork.root / FLOWERS).write_text(release())
    (fork.root / BOTTLES).write_text(release(model="bottles-classifier"))
    (fork.root / LIVE).write_text(release())
    fork.commit()
    fork.git("clone", "--quiet", "--bare", str(fork.root), str(path))
    fork.git("remote", "add", "origin", str(path))
    fork.git("fetch", "--quiet", "origin")
    return path


def job(name: str) -> Job:
    return next(each for each in read().workflow("deliver.yml").jobs if each.name == name)


def pin(fork: Fork) -> Run:
    """Run the job that pins, as it runs after the jobs that build."""
    programs = fork.root / ".cache/programs"
    programs.mkdir(exist_ok=True)
    (programs / "gh").write_text("#!/bin/sh\n[ \"$GH_TOKEN $*\" = 'a token auth setup-git' ]\n")
    (programs / "gh").chmod(0o755)
    run = Run(
        root=fork.root,
        environment={
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "PATH": f"{programs}:{os.environ['PATH']}",
            **fork.environment,
            "GIT_CONFIG_GLOBAL": "/dev/null",
        },
        known={"steps.app.outputs.token": "a token"},
    )
    run.job(job("pin"))
    return run


def at_remote(fork: Fork, remote: Path, path: Path) -> dict[str, dict[str, str]]:
    content: dict[str, dict[str, str]] = yaml.safe_load(fork.git("--git-dir", str(remote), "show", f"{BRANCH}:{path}"))
    return content


def log(fork: Fork, remote: Path) -> list[str]:
    return fork.git("--git-dir", str(remote), "log", "--format=%an: %s", BRANCH).splitlines()


def test_what_was_delivered_is_pinned_where_machines_move_it(fork: Fork, remote: Path) -> None:
    """Both environments without `from` get the new pins, and the one that is promoted from them does not."""
    references = fork.deliver()
    pin(fork)
    for file in (FLOWERS, BOTTLES):
        pinned = at_remote(fork, remote, file)
        image = pinned["image"]
        assert f"{image['repository']}:{image['tag']}@{image['digest']}" == references["serving"]
        assert pinned["release"]["chart"] == VERSIONS["model-serving"]
        chart = f"{fork.prefix}/charts/model-serving:{VERSIONS['model-serving']}"
        assert pinned["release"]["chartDigest"] == fork.run("tools/image-digest", chart).stdout.strip()
        assert pinned["model"]["version"] == "7"
    assert at_remote(fork, remote, LIVE) == yaml.safe_load(release())
    files = fork.git("--git-dir", str(remote), "ls-tree", "-r", "--name-only", BRANCH, "envs/").splitlines()
    assert sum(file.endswith("/release.yaml") for file in files) == 3, "a first release was made without a request"
    for name in ("mlflow", "training"):
        image = at_remote(fork, remote, Path(f"envs/platform/pins/{name}.yaml"))["image"]
        assert f"{image['repository']}:{image['tag']}@{image['digest']}" == references[name]
    subjects = log(fork, remote)
    by_machine = [subject for subject in subjects if subject.startswith("delivery[bot]: ")]
    assert len(by_machine) == 3, "one for the platform, one for each service"

    pin(fork)
    assert log(fork, remote) == subjects


@pytest.mark.parametrize("whose", ["image", "chart"])
def test_what_another_branch_wrote_to_the_registry_is_not_pinned(fork: Fork, remote: Path, whose: str) -> None:
    """It has the right name, but no valid signature."""
    fork.deliver()
    reference = fork.facts("serving")["reference"] if whose == "image" else fork.chart()
    signed = fork.root / ".cache/signed"
    signed.write_text(signed.read_text().replace(reference.partition("@")[2], "another"))
    before = log(fork, remote)
    with pytest.raises(AssertionError, match="no signatures found"):
        pin(fork)
    assert log(fork, remote) == before


def test_an_overtaken_delivery_pins_nothing(fork: Fork, remote: Path) -> None:
    fork.deliver()
    other = Fork(root=fork.root.parent / "other", prefix=fork.prefix, crane=fork.crane)
    fork.git("clone", "--quiet", str(remote), str(other.root))
    (other.root / "services/serving/src/serving/newer.py").write_text("")
    other.commit()
    other.git("push", "--quiet", "origin", BRANCH)
    before = log(fork, remote)
    run = pin(fork)
    assert log(fork, remote) == before
    assert "newer content" in run.printed


def test_a_commit_of_pins_meanwhile_does_not_stop_a_delivery(fork: Fork, remote: Path) -> None:
    references = fork.deliver()
    other = Fork(root=fork.root.parent / "other", prefix=fork.prefix, crane=fork.crane)
    fork.git("clone", "--quiet", str(remote), str(other.root))
    (other.root / FLOWERS).write_text(release().replace("version: '7'", "version: '8'"))
    other.commit()
    other.git("push", "--quiet", "origin", BRANCH)
    pin(fork)
    pinned = at_remote(fork, remote, FLOWERS)
    assert pinned["model"]["version"] == "8"
    assert pinned["image"]["digest"] == references["serving"].partition("@")[2]


def test_what_is_held_stays_and_the_run_passes(fork: Fork, remote: Path) -> None:
    (fork.root / FLOWERS).write_text(release(hold="under observation"))
    fork.commit()
    fork.git("push", "--quiet", "origin", BRANCH)
    fork.deliver()
    run = pin(fork)
    assert at_remote(fork, remote, FLOWERS)["image"]["digest"] == OLD
    assert at_remote(fork, remote, BOTTLES)["image"]["digest"] != OLD
    assert "under observation" in run.printed


def test_before_the_first_release_only_the_platform_is_pinned(fork: Fork, remote: Path) -> None:
    for file in (FLOWERS, BOTTLES, LIVE):
        (fork.root / file).unlink()
    fork.commit()
    fork.git("push", "--quiet", "origin", BRANCH)
    references = fork.deliver()
    run = pin(fork)
    assert "nothing is released there" in run.printed
    assert at_remote(fork, remote, Path("envs/platform/pins/mlflow.yaml"))["image"]["digest"] in references["mlflow"]


def test_charts_are_published_by_their_job(fork: Fork, remote: Path) -> None:
    environment = {**os.environ, **fork.environment}
    fork.run("tools/push-charts", "model-serving")
    for _ in range(2):
        Run(root=fork.root, environment=environment).job(job("charts"))
    # A chart that an earlier run published but did not sign is signed too, and each is signed once.
    signed = (fork.root / ".cache/signed").read_text().splitlines()
    assert fork.chart().partition("@")[2] in signed
    assert len(signed) == len(set(signed)) == len(VERSIONS)


def in_place_of_gitops(fork: Fork, real: str, rest: str) -> None:
    """Replace gitops: some verbs run the real command, and the others only record their calls."""
    (fork.root / ".venv").unlink()
    programs = fork.root / ".venv/bin"
    programs.mkdir(parents=True)
    program = ROOT / ".venv/bin/gitops"
    (programs / "gitops").write_text(
        f'#!/bin/sh\ncase "$1" in {real}) exec {program} "$@" ;; esac\necho "$*" >> {calls_of(fork)}\n{rest}\n'
    )
    (programs / "gitops").chmod(0o755)
    calls_of(fork).write_text("")


def calls_of(fork: Fork) -> Path:
    return fork.root / ".cache/calls"


def test_a_model_goes_to_the_services_that_serve_it(fork: Fork, remote: Path) -> None:
    """tools/bump only names the model. platform.yaml has its services, and the registry its version."""
    in_place_of_gitops(fork, "nothing", "")
    fork.run("tools/bump", "--model", "flowers-classifier")
    assert calls_of(fork).read_text().splitlines() == ["bump --model flowers-classifier@candidate"]


def propose(fork: Fork, name: str, content: str) -> str:
    """Commit a release file of an environment with `from`, and more, on a branch in a separate checkout."""
    base = fork.git("rev-parse", BRANCH)
    fork.git("worktree", "add", "--quiet", "-b", name, f".cache/{name}", base)
    proposal = Fork(root=fork.root / ".cache" / name, prefix=fork.prefix, crane=fork.crane)
    (proposal.root / LIVE).write_text(content)
    proposal.commit()
    return base


def test_a_proposal_is_judged_by_the_code_of_the_base(fork: Fork, remote: Path) -> None:
    newer = release("sha256:" + "2e" * 32)
    (fork.root / FLOWERS).write_text(newer)
    fork.commit()
    in_place_of_gitops(fork, "targets|review|check", "")
    good = propose(fork, "good", newer)
    fork.run("tools/judge", ".cache/good", good)
    live = f"live/{LIVE.parent.name}"
    assert calls_of(fork).read_text().splitlines() == [
        f"verify {live} --without model", f"render {live} --chart-from registry"
    ]  # fmt: skip

    # Pins that run nowhere do not pass, even if the proposal changes its own tools.
    bad = propose(fork, "bad", release("sha256:" + "3d" * 32))
    (fork.root / ".cache/bad/tools/judge").write_text("#!/bin/sh\nexit 0\n")
    refused = fork.run("tools/judge", ".cache/bad", bad, ok=False)
    assert live in refused.stderr + refused.stdout


def test_a_proposal_that_moves_nothing_is_looked_up_nowhere(fork: Fork, remote: Path) -> None:
    in_place_of_gitops(fork, "targets|review|check", "")
    base = propose(fork, "same", (fork.root / LIVE).read_text() + "# a remark\n")
    (fork.root / ".cache/same" / LIVE).write_text((fork.root / LIVE).read_text())
    Fork(root=fork.root / ".cache/same", prefix=fork.prefix, crane=fork.crane).commit()
    fork.run("tools/judge", ".cache/same", base)
    assert calls_of(fork).read_text() == ""
