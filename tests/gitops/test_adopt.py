"""Proves on a copy of this repository that `gitops adopt` makes all of it another's, and leaves it sound.

The copy is a git repository of its own with every file of the working tree; what is adopted is read and judged as
test_rules judges the original.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops.identity import Identity, load_identity
from tests.gitops import application_rules, stack
from tests.support.helm import ROOT

ACME = Identity(repository="https://git.example.com/acme/models.git", registry="registry.example.com:5000/acme/models")
OTHER = Identity(repository="git@git.example.org:other/place.git", registry="registry.example.org/other/place")


def run(folder: Path, *command: str | Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


def adopt(fork: Path, identity: Identity) -> list[Any]:
    command = Path(sys.executable).with_name("gitops")
    said = run(fork, command, "adopt", "--repo", identity.repository, "--registry", identity.registry, "--json")
    rewritten: list[Any] = json.loads(said)["rewritten"]
    return rewritten


def mentions(fork: Path, identity: Identity) -> Iterator[str]:
    """Yield the tracked files that still name an identity, with what they name."""
    for name in filter(None, run(fork, "git", "ls-files", "-z").split("\0")):
        if (fork / name).is_symlink():
            continue
        text = (fork / name).read_bytes().decode(errors="replace")
        for address in sorted({identity.repository, identity.registry, identity.web, identity.slug}):
            if address in text:
                yield f"{name}: {address}"


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("fork")
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        # A link is a file to git, wherever it leads.
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    run(copy, "git", "init", "--quiet")
    run(copy, "git", "add", "--all")
    return copy


@pytest.fixture(scope="module")
def adopted(fork: Path) -> stack.Stack:
    adopt(fork, ACME)
    return stack.load(fork)


def test_leaves_nothing_behind(fork: Path) -> None:
    for identity in (OTHER, ACME):
        before = load_identity(fork)
        assert adopt(fork, identity)
        assert list(mentions(fork, before)) == []
        assert load_identity(fork) == identity
    assert adopt(fork, ACME) == []


@pytest.mark.parametrize("rule", application_rules.RULES, ids=lambda rule: rule.__name__)
def test_what_is_adopted_is_sound(rule: application_rules.Rule, adopted: stack.Stack) -> None:
    assert list(rule(adopted)) == []


def test_everything_comes_from_the_new_place(adopted: stack.Stack) -> None:
    known = {ACME.repository, ACME.charts, "https://prometheus-community.github.io/helm-charts"}
    found = {source["repoURL"] for app in adopted.apps for source in app.sources}
    assert found <= known
    assert ACME.repository in found
    assert adopted.registry == ACME.registry
