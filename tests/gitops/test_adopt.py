"""`gitops adopt` changes few files of a copy of this repository, and the result follows all rules.

The copy is a separate git repository with every file of the working tree. The rules judge it as test_rules judges the
original.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from gitops.platform.reader import load_platform
from tests.gitops import application_rules, stack
from tests.support.tree import copy_tree

REPOSITORY = "https://git.example.com/acme/models.git"
REGISTRY = "registry.example.com:5000/acme/models"


def run(folder: Path, *command: str | Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def adopt(fork: Path, repository: str, registry: str) -> None:
    command = Path(sys.executable).with_name("gitops")
    run(fork, command, "adopt", "--repo", repository, "--registry", registry)


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("fork")
    copy_tree(copy)
    run(copy, "git", "init", "--quiet")
    run(copy, "git", "add", "--all")
    run(copy, "git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "--message", "all")
    adopt(copy, "git@git.example.org:other/place.git", "registry.example.org/other/place")
    adopt(copy, REPOSITORY, REGISTRY)
    return copy


@pytest.fixture(scope="module")
def adopted(fork: Path) -> stack.Stack:
    return stack.load(fork)


def test_touches_few_files(fork: Path) -> None:
    touched = run(fork, "git", "status", "--porcelain").splitlines()
    assert 0 < len(touched) < 5
    assert load_platform(fork).repository == REPOSITORY


@pytest.mark.parametrize("rule", application_rules.RULES, ids=lambda rule: rule.__name__)
def test_what_is_adopted_is_sound(rule: application_rules.Rule, adopted: stack.Stack) -> None:
    assert list(rule(adopted)) == []


def test_everything_comes_from_the_new_place(adopted: stack.Stack) -> None:
    known = {REPOSITORY, f"{REGISTRY}/charts", "https://prometheus-community.github.io/helm-charts"}
    found = {source["repoURL"] for app in adopted.apps for source in app.sources}
    assert found <= known
    assert REPOSITORY in found


def test_alerts_and_dashboards_link_to_the_new_place(adopted: stack.Stack) -> None:
    rendered = str(adopted.app("observability").rendered)
    assert "https://git.example.com/acme/models/" in rendered
    assert "OWNER/NAME" not in rendered
