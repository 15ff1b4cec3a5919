"""Repositories in which everything has been released, each rendered once."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.gitops import repository, stack
from tests.support.helm import ROOT


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the files that Argo CD reads. Services without a release get one from releases/."""
    return repository.copied(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def everything(tree: Path) -> stack.Stack:
    """Return all applications of the platform and of all services, rendered; `released` is that of this repository."""
    return _as_released(stack.load(tree))


@pytest.fixture(scope="session")
def wide_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of four environments on two clusters, with three services."""
    return repository.copied(tmp_path_factory.mktemp("wide"), repository.WIDE)


@pytest.fixture(scope="session")
def wide(wide_tree: Path) -> stack.Stack:
    """Return that wide repository, rendered."""
    return stack.load(wide_tree)


@pytest.fixture(scope="session")
def grown_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this repository after one command for an environment and one for a service, with everything released."""
    clone = repository.grown(tmp_path_factory.mktemp("grown"), repository.ADDED)
    repository.release(clone)
    return clone


@pytest.fixture(scope="session")
def grown(grown_tree: Path) -> stack.Stack:
    """Return the grown repository, rendered; `released` as for `everything`."""
    return _as_released(stack.load(grown_tree))


def _as_released(loaded: stack.Stack) -> stack.Stack:
    return replace(loaded, released=any((ROOT / "envs").glob("*/*/release.yaml")))
