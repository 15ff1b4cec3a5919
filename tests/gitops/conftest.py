"""The repository as it is once both environments have been released, rendered once."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gitops import stack
from tests.support.helm import ROOT

RELEASES = Path(__file__).parent / "releases"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what Argo CD reads; an environment that has no release yet gets one from releases/."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("apps", "argocd", "charts", "envs"):
        shutil.copytree(ROOT / name, copy / name)
    for release in RELEASES.glob("*.yaml"):
        target = copy / "envs" / release.stem / "release.yaml"
        if not target.exists():
            shutil.copy(release, target)
    return copy


@pytest.fixture(scope="session")
def everything(tree: Path) -> stack.Stack:
    """All applications of the platform and of both environments, rendered; `released` as it is in the repository."""
    return replace(stack.load(tree), released=any((ROOT / "envs").glob("*/release.yaml")))
