"""Repositories to judge: this one with every service released in every environment, and a wider one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gitops.platform.reader import load_platform
from gitops.platform.targets import targets
from tests.support.helm import ROOT

RELEASES = Path(__file__).parent / "releases"
_READ = ("apps", "argocd", "charts", "envs", "models")
# Two clusters, four environments and three services, one of them from the time before services had names.
WIDE = """\
repository: git@git.example.com:flora/petals.git
branch: trunk
forge: {kind: gitlab, api: https://git.example.com/api/v4}
registry: {prefix: registry.example.com:5000/flora/petals}
store: seaweedfs
pushgateway: true
environments:
  - {name: dev}
  - {name: qa, from: dev, minAge: 5m}
  - {name: live, from: qa, minAge: 1d, namespace: shop}
  - {name: live-eu, from: qa, cluster: west, namespace: shop}
services:
  - {name: iris, model: iris-classifier, owner: "@flora/iris", legacyName: serving}
  - {name: wine, model: wine-classifier, owner: "@flora/wine"}
  - {name: churn-of-many-customers, model: churn}
clusters:
  west: {server: https://10.0.0.5:6443, s3: https://s3.example.com, mlflow: https://mlflow.example.com}
"""
# The author of commits, independent of the settings of the person who runs the tests.
PERSON = {
    **{f"GIT_{role}_NAME": "Ada" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "ada@example.com" for role in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
# The commands that add an environment and a service.
ADDED = (
    ("new", "environment", "qa", "--from", "staging"),
    ("new", "service", "wine", "--model", "wine-classifier", "--owner", "@team-wine"),
)


def copied(folder: Path, platform: str | None = None) -> Path:
    """Return a copy of the files that Argo CD reads, with a release of every service in every environment.

    Args:
        folder: Folder to make it in.
        platform: Content of its platform.yaml, by default this repository's.
    """
    for name in _READ:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
    if platform is None:
        shutil.copy(ROOT / "platform.yaml", folder / "platform.yaml")
    else:
        (folder / "platform.yaml").write_text(platform, encoding="utf-8")
        for path in (folder / "envs").iterdir():
            if path.is_dir() and path.name != "platform":
                shutil.rmtree(path)
    release(folder)
    return folder


def grown(folder: Path, commands: Sequence[Sequence[str]], platform: str | None = None) -> Path:
    """Return a clone of this repository after commands of gitops, each of which pushed to the clone's remote.

    Args:
        folder: Folder to make the clone and its bare remote in.
        commands: The arguments of each command.
        platform: Content of platform.yaml, by default this repository's.
    """
    clone, bare = folder / "clone", folder / "origin.git"
    copied(clone, platform)
    (clone / ".github").mkdir()
    shutil.copy(ROOT / ".github/CODEOWNERS", clone / ".github")
    (clone / ".gitignore").write_text(".cache/\n", encoding="utf-8")
    git(clone, "init", "--quiet", "--template=", "--initial-branch", load_platform(clone).branch)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "first")
    git(folder, "clone", "--quiet", "--bare", str(clone), str(bare))
    git(clone, "remote", "add", "origin", str(bare))
    for arguments in commands:
        gitops(clone, *arguments)
    return clone


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, and return its output."""
    return _run(folder, "git", *arguments)


def gitops(folder: Path, *arguments: str) -> str:
    """Run this project's command in a folder, and return its output."""
    return _run(folder, str(ROOT / ".venv/bin/gitops"), *arguments)


def _run(folder: Path, *command: str) -> str:
    environment = {**os.environ, **PERSON}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def release(folder: Path) -> None:
    """Release all services that are not released: with the pins of releases/ENV.yaml, or else those of staging."""
    for target in targets(load_platform(folder)):
        if (folder / target.file).exists():
            continue
        pins = RELEASES / f"{target.environment.name}.yaml"
        text = (pins if pins.exists() else RELEASES / "staging.yaml").read_text(encoding="utf-8")
        (folder / target.folder).mkdir(parents=True, exist_ok=True)
        (folder / target.file).write_text(text.replace("iris-classifier", target.service.model), encoding="utf-8")
        tuning = folder / target.folder / "values.yaml"
        if not tuning.exists():
            tuning.write_text(f"ingress: {{hosts: [{target.application}.example.com]}}\n", encoding="utf-8")
