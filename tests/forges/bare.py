"""A bare repository for the stand-ins of forges, and what a forge's merge button does to it."""

from pathlib import Path

import pytest

from services.gitops.tests.conftest import git, record_moves


def bare(request: pytest.FixtureRequest) -> Path:
    """Make the empty repository of a test."""
    folder: Path = request.getfixturevalue("tmp_path")
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    record_moves(folder / "origin.git")
    return folder / "origin.git"


def merged(repository: Path, branch: str, *, forward: bool = False) -> None:
    """Merge a branch into main, with a commit or as a fast-forward. Fail if it conflicts."""
    if forward:
        git(repository, "merge-base", "--is-ancestor", "main", branch)
        git(repository, "update-ref", "refs/heads/main", branch)
        return
    tree = git(repository, "merge-tree", "--write-tree", "main", branch)
    commit = git(repository, "commit-tree", tree, "-p", "main", "-p", branch, "-m", f"Merge {branch}")
    git(repository, "update-ref", "refs/heads/main", commit)
