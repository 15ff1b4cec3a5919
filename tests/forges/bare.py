"""A bare repository for the stand-ins of forges, and what a forge's merge button does to it."""

from pathlib import Path

import pytest

from services.gitops.tests.conftest import git


def bare(request: pytest.FixtureRequest) -> Path:
    """Make the empty repository of a test."""
    folder: Path = request.getfixturevalue("tmp_path")
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    return folder / "origin.git"


def merged(repository: Path, branch: str) -> None:
    """Merge a branch into main. Fail if it conflicts."""
    tree = git(repository, "merge-tree", "--write-tree", "main", branch)
    commit = git(repository, "commit-tree", tree, "-p", "main", "-p", branch, "-m", f"Merge {branch}")
    git(repository, "update-ref", "refs/heads/main", commit)
