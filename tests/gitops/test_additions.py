"""A new environment and a new service are one command and one commit each, and everything fits afterwards.

test_rules and test_layout judge what Argo CD would make of the same repository.
"""

from pathlib import Path

from gitops.platform.targets import targets
from tests.gitops import repository
from tests.gitops.stack import Stack


def test_each_command_pushes_one_commit(grown_tree: Path) -> None:
    bare = grown_tree.parent / "origin.git"
    subjects = repository.git(bare, "log", "--reverse", "--format=%s").splitlines()
    assert subjects == ["first", "new(environment): qa", "new(service): wine"]


def test_everything_fits_together(tmp_path: Path) -> None:
    clone = repository.grown(tmp_path, repository.ADDED)
    repository.gitops(clone, "check")
    assert repository.git(clone, "status", "--porcelain") == ""
    # Also after all of it is released.
    repository.release(clone)
    repository.gitops(clone, "check")


def test_the_new_service_runs_in_every_environment(grown: Stack) -> None:
    names = {app.name for app in grown.apps}
    assert {target.application for target in targets(grown.platform)} <= names
    assert {"iris-qa", "wine-qa", "wine-staging", "wine-production"} <= names
    assert all(grown.app(f"wine-{place}").rendered for place in ("staging", "qa", "production"))
