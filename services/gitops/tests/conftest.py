"""A git repository with this project's own files, and without settings of the person who runs the tests."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import astuple

from gitops.forge.choice import adapter
from gitops.platform.forges import FORGES
from gitops.platform.model import Environment, Service
from gitops.platform.targets import Target
from tests.support.folders import copied
from tests.support.once import made_once

ROOT = Path(__file__).resolve().parents[3]
DIGEST = "sha256:" + "0f" * 32
_COPIED = ("apps", "argocd", "charts", "envs", "models", "platform.yaml", ".github/CODEOWNERS")
PLATFORM = Path("platform.yaml")
# The service that the project comes with.
SERVICE = "iris"
_COMMITTER = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")


@pytest.fixture(autouse=True)
def _only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the cluster, MLflow, the forge and the git settings of the person who runs the tests."""
    for name in (
        *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        *(name for kind in FORGES for name in astuple(adapter(kind).variables)),
        *("GITOPS_MIN_AGE", "GITOPS_PROMETHEUS_URL"),
        *("GITOPS_COSIGN_KEY", "GITOPS_COSIGN_NO_TRANSPARENCY_LOG"),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.com")


def release_file(environment: str, service: str = SERVICE) -> Path:
    """Return the path of the file with a service's pins."""
    return Path("envs") / environment / service / "release.yaml"


def target(environment: str, service: str = SERVICE, source: str = "") -> Target:
    """Return a service in an environment, with the names of the project's own platform.yaml."""
    return Target(
        environment=Environment(name=environment, source=source),
        service=Service(name=service, model=f"{service}-classifier"),
    )


def add_service(folder: Path, name: str, model: str) -> None:
    """Add a service to platform.yaml, without a commit."""
    file = folder / PLATFORM
    file.write_text(f"{file.read_text().rstrip()}\n  - {{name: {name}, model: {model}}}\n")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *_COMMITTER, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def record_moves(bare: Path) -> None:
    """Make a repository record when its branches move, as a forge does."""
    git(bare, "config", "core.logAllRefUpdates", "true")


@contextmanager
def at(when: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give commits and recorded pushes inside the block another time."""
    with monkeypatch.context() as then:
        for role in ("AUTHOR", "COMMITTER"):
            then.setenv(f"GIT_{role}_DATE", when.isoformat(timespec="seconds"))
        yield


def moves(bare: Path) -> list[tuple[str, datetime]]:
    """Return the recorded moves of the main branch of a repository, the newest first."""
    log = bare / "logs" / "refs" / "heads" / "main"
    lines = log.read_text().splitlines() if log.exists() else []
    found = [re.match(r"\S+ (?P<head>\S+) .*> (?P<seconds>\d+) ", line) for line in reversed(lines)]
    return [(each["head"], datetime.fromtimestamp(int(each["seconds"]), UTC)) for each in found if each]


def commit_all(folder: Path, message: str = "change") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own files as one commit, with Helm. Tests work on copies of it."""
    subprocess.run([ROOT / "tools" / "install", "helm"], check=True, capture_output=True, timeout=900)
    return made_once(tmp_path_factory, "original", _make_original)


def _make_original(folder: Path) -> None:
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=_left_out)
        elif (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for released in (folder / "envs").glob("*/*/release.yaml"):
        released.unlink()
    (folder / ".gitignore").write_text(".cache/\n")
    git(folder, "init", "--quiet", "--template=", "--initial-branch", "main")
    commit_all(folder, "first")
    # Copying one pack for each test is faster than copying hundreds of files.
    git(folder, "repack", "-a", "-d", "--quiet")
    (folder / ".cache" / "tools" / "bin").mkdir(parents=True)
    (folder / ".cache" / "tools" / "bin" / "helm").symlink_to(ROOT / ".cache" / "tools" / "bin" / "helm")


def _left_out(folder: str, names: Sequence[str]) -> set[str]:
    """Name the folders that only the charts' own tests read, a third of the charts' files."""
    return {"ci", "tests"} if Path(folder).parent == ROOT / "charts" else set()


@pytest.fixture
def fork(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is the current folder."""
    folder = copied(original, tmp_path / "fork")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def bare(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bare clone of `original`; tests work on copies of it."""

    def clone(folder: Path) -> None:
        git(folder, "clone", "--quiet", "--bare", "--template=", str(original), str(folder / "origin.git"))
        git(folder / "origin.git", "config", "receive.autogc", "false")
        record_moves(folder / "origin.git")
        (folder / "origin.git" / "hooks").mkdir()

    return made_once(tmp_path_factory, "bare", clone) / "origin.git"


@pytest.fixture
def origin(fork: Path, bare: Path, tmp_path: Path) -> Path:
    """The bare repository that `fork` was cloned from and pushes to, as after `git remote add` and `git fetch`."""
    copy = copied(bare, tmp_path / "origin.git")
    with (fork / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[remote "origin"]\n\turl = {copy}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
        config.write('[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n')
    followed = fork / ".git" / "refs" / "remotes" / "origin"
    followed.mkdir(parents=True)
    (followed / "main").write_bytes((fork / ".git" / "refs" / "heads" / "main").read_bytes())
    return copy
