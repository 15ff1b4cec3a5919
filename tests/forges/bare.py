"""Do to a bare repository what a forge's merge button does."""

from pathlib import Path

from services.gitops.tests.conftest import git


def merged(bare: Path, branch: str) -> None:
    """Merge a branch into main. Fail if it conflicts."""
    tree = git(bare, "merge-tree", "--write-tree", "main", branch)
    commit = git(bare, "commit-tree", tree, "-p", "main", "-p", branch, "-m", f"Merge {branch}")
    git(bare, "update-ref", "refs/heads/main", commit)
