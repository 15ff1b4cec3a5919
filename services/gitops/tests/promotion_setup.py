"""Set-up for tests of `gitops promote`: releases, a clone and a forge."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gitops.pins.release import Hold, Image, Model, Notes, Release, written
from services.gitops.tests.conftest import DIGEST, commit_all, git, release_file
from services.gitops.tests.github import SLUG, TOKEN, GitHub, serving

STAGING, PRODUCTION = release_file("staging"), release_file("production")
BRANCH = "promote/production/iris"


def release(version: int, hold: Hold | None = None) -> Release:
    chart = yaml.safe_load(Path("charts/model-serving/Chart.yaml").read_text())["version"]
    return Release(
        release=Notes(chart=chart, hold=hold, metrics={"accuracy": 0.9 + version / 100, "log_loss": 0.1}),
        image=Image(repository="registry.example.com/acme/serving", tag=f"1.{version}.0", digest=DIGEST),
        model=Model(
            name="iris-classifier",
            version=str(version),
            digest=DIGEST,
            uri=f"s3://mlflow/1/models/m-{version}/artifacts",
        ),
    )


def push(fork: Path, environment: str, after: Release, message: str, service: str = "iris") -> str:
    """Change on the main branch what a service runs in an environment."""
    file = fork / release_file(environment, service)
    file.parent.mkdir(exist_ok=True)
    before = file.read_text() if file.exists() else None
    file.write_text(written(before, after, environment))
    commit = commit_all(fork, message)
    git(fork, "push", "--quiet")
    return commit


@pytest.fixture
def clone(fork: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staging runs version 2, after a code change and version 1; nothing runs in production. Helm is missing."""
    monkeypatch.setenv("GITOPS_MIN_AGE", "0")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (fork / ".cache/tools/bin/helm").unlink()
    push(fork, "staging", release(1), "bump(staging): iris 1")
    (fork / "apps" / "note.txt").write_text("code\n")
    commit_all(fork, "Answer `faster`, @ada")
    push(fork, "staging", release(2), "bump(staging): iris 2")
    return fork


@pytest.fixture
def hub(clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub with the repository of `origin`, and a token for it."""
    with serving(GitHub(origin)) as hub:
        for name, value in {"TOKEN": TOKEN, "API_URL": hub.url, "REPOSITORY": SLUG}.items():
            monkeypatch.setenv(f"GITHUB_{name}", value)
        yield hub
