"""What the button of a merge does to a bare repository."""

from pathlib import Path

from services.gitops.tests.conftest import git


def merged(bare: Path, branch: str) -> None:
    """Merge a branch into main; one that conflicts cannot be."""
    tree = git(bare, "merge-tree", "--write-tree", "main", branch)
    commit = git(bare, "commit-tree", tree, "-p", "main", "-p", branch, "-m", f"Merge {branch}")
    git(bare, "update-ref", "refs/heads/main", commit)
