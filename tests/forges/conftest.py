"""Run every test on each forge: a real Gitea, and stand-ins for GitHub and GitLab."""

import shutil
from collections.abc import Iterator
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
    git,
    original,
)
from services.gitops.tests.github import GitHub, serving
from tests.forges.front import front_of
from tests.forges.gitea import GiteaStage
from tests.forges.gitea_server import GiteaServer, begin_gitea, gitea
from tests.forges.github import GitHubStage
from tests.forges.gitlab import GitLabStage
from tests.forges.gitlab_standin import GitLab
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
    """Yield a fork of the project on a forge, and set a token for it. There is no Helm and no cluster."""
    monkeypatch.setattr(api, "_PAUSES", (0.01,) * 4)
    monkeypatch.setenv("GITOPS_MIN_AGE", "0")
    (fork / ".cache/tools/bin/helm").unlink()
    shutil.copytree(ROOT / ".github/rulesets", fork / ".github/rulesets")
    if request.param == "gitea":
        server: GiteaServer = request.getfixturevalue("gitea_server")
        monkeypatch.setenv("PATH", _programs(tmp_path))
        with front_of(server.url) as front:
            yield _ready(GiteaStage(server, front, fork, monkeypatch))
        return
    monkeypatch.setenv("PATH", _programs(tmp_path))
    bare = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    if request.param == "github":
        with serving(GitHub(bare)) as hub, front_of(hub.url) as front:
            yield _ready(GitHubStage(hub, front, fork, monkeypatch))
        return
    assert request.param == "gitlab", f"{request.param} has no stage: add one to tests/forges"
    with serving(GitLab(bare)) as lab, front_of(lab.url) as front:
        yield _ready(GitLabStage(lab, front, fork, monkeypatch))


def _ready(stage: Stage) -> Stage:
    stage.set_up()
    return stage


def _programs(folder: Path) -> str:
    """Return a PATH with only the programs that the tests need."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("git", "openssl"):
        (programs / name).symlink_to(shutil.which(name) or name)
    return str(programs)
