"""Repositories in which everything has been released, each rendered once."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.gitops import repository, stack
from tests.support.helm import ROOT


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what Argo CD reads; a service that has no release yet somewhere gets one from releases/."""
    return repository.copied(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def everything(tree: Path) -> stack.Stack:
    """All applications of the platform and of all services, rendered; `released` as it is in the repository."""
    return _as_released(stack.load(tree))


@pytest.fixture(scope="session")
def wide_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of four environments on two clusters and three services."""
    return repository.copied(tmp_path_factory.mktemp("wide"), repository.WIDE)


@pytest.fixture(scope="session")
def wide(wide_tree: Path) -> stack.Stack:
    """The wider repository, rendered."""
    return stack.load(wide_tree)


@pytest.fixture(scope="session")
def grown_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository after one command for an environment and one for a service; everything released there too."""
    clone = repository.grown(tmp_path_factory.mktemp("grown"), repository.ADDED)
    repository.release(clone)
    return clone


@pytest.fixture(scope="session")
def grown(grown_tree: Path) -> stack.Stack:
    """The repository that has grown, rendered; `released` as for `everything`."""
    return _as_released(stack.load(grown_tree))


def _as_released(loaded: stack.Stack) -> stack.Stack:
    return replace(loaded, released=any((ROOT / "envs").glob("*/*/release.yaml")))
