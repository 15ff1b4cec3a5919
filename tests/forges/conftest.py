"""Run every test on each forge: a real Gitea, and stand-ins for GitHub and GitLab."""

import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from gitops.forge import api
from gitops.platform.forges import ForgeKind
from services.gitops.tests.conftest import (  # noqa: F401  (fixtures)
    ROOT,
    _only_what_a_test_sets,
    commit_all,
    fork,
    original,
)
from tests.forges.gitea_server import GiteaServer, begin_gitea, gitea
from tests.forges.provider import Provider
from tests.forges.stages import Stage
from tests.support.once import made_once

KINDS = get_args(ForgeKind)


@pytest.fixture(scope="session")
def gitea_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for the server's files."""
    return tmp_path_factory.mktemp("gitea")


@pytest.fixture(scope="session")
def gitea_server(gitea_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    """Yield one server for all tests. Each test has a separate repository on it."""
    with gitea(gitea_folder, made_once(tmp_path_factory, "gitea", begin_gitea)) as server:
        yield server


@pytest.fixture(scope="session")
def provider(gitea_server: GiteaServer, gitea_folder: Path) -> Provider:
    """Return the same server, as the OpenID Connect provider of people."""
    return Provider(gitea_server, gitea_folder)


@pytest.fixture(params=KINDS)
def stage(
    request: pytest.FixtureRequest,
    fork: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    """Yield a fork of the project on a forge, and set a token for it. There is no Helm and no cluster.

    The module of this folder with the name of the kind of forge opens its stage.
    """
    monkeypatch.setattr(api, "_PAUSES", (0.01,) * 4)
    monkeypatch.setenv("GITOPS_MIN_AGE", "0")
    (fork / ".cache/tools/bin/helm").unlink()
    shutil.copytree(ROOT / ".github/rulesets", fork / ".github/rulesets")
    module = import_module(f"tests.forges.{request.param}")
    with module.opened(request, fork, monkeypatch) as opened:
        monkeypatch.setenv("PATH", _programs(tmp_path))
        opened.set_up()
        yield opened


def _programs(folder: Path) -> str:
    """Return a PATH with only the programs that the tests need."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("git", "openssl"):
        (programs / name).symlink_to(shutil.which(name) or name)
    return str(programs)
