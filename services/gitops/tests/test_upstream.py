"""A fork that adopted, released, tuned, pinned and vendored merges upstream's next version without a conflict."""

from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.platform.reader import load_platform
from services.gitops.tests.conftest import DIGEST, commit_all, git
from services.gitops.tests.test_adopt import FIRST, manifest
from services.gitops.tests.test_check import RELEASE
from services.gitops.tests.test_new import QA, WINE


def appended(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def next_version(upstream: Path) -> None:
    """Change what a new version changes: charts, apps, docs, defaults, Argo CD, comments in files that forks edit."""
    for name in ("charts/mlflow/values.yaml", "apps/values.yaml", "envs/README.md", "envs/platform/mlflow.yaml"):
        appended(upstream / name, "\n# Said better in the next version.\n")
    for name in ("charts/mlflow/Chart.yaml", "envs/values.yaml", "argocd/README.md"):
        path = upstream / name
        path.write_text("# The next version.\n" + path.read_text())
    kustomization = upstream / "argocd/install/kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("/argo-cd/v3.6.1/", "/argo-cd/v3.6.9/"))
    platform = upstream / "platform.yaml"
    platform.write_text(platform.read_text().replace("# The facts of this fork.", "# All the facts of this fork."))


def test_the_next_version_merges_without_a_conflict(fork: Path, origin: Path, tmp_path: Path) -> None:
    upstream = tmp_path / "upstream"
    git(tmp_path, "clone", "--quiet", str(origin), str(upstream))

    (tmp_path / "install.yaml").write_text(manifest("v3.6.1"))
    assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "install.yaml")]) == 0
    assert len(git(fork, "status", "--porcelain", "--untracked-files=all").splitlines()) < 5
    commit_all(fork, "adopt")
    git(fork, "push", "--quiet")
    for name in ("staging", "production"):
        (fork / "envs" / name / "iris/release.yaml").write_text(RELEASE.replace("MODEL", "iris-classifier"))
        appended(fork / "envs" / name / "iris/values.yaml", "nodeSelector: {disk: fast}\n")
    commit_all(fork, "release and tune")
    git(fork, "push", "--quiet")
    image = f"mlflow=registry.example.com/flora/petals/mlflow:1.0.0@{DIGEST}"
    assert execute(["bump", "platform", "--image", image]) == 0
    assert execute([*QA]) == 0
    assert execute([*WINE]) == 0
    own = {path: (fork / path).read_text() for path in git(fork, "ls-files", "envs/*/*").splitlines()}

    next_version(upstream)
    commit_all(upstream, "next version")
    git(fork, "remote", "add", "upstream", str(upstream))
    git(fork, "fetch", "--quiet", "upstream")
    git(fork, "merge", "--quiet", "--no-edit", "upstream/main")

    platform = load_platform(fork)
    assert (platform.repository, platform.argocd.vendored) == (FIRST[1], True)
    assert [entry.name for entry in platform.environments] == ["staging", "qa", "production"]
    assert "# All the facts of this fork." in (fork / "platform.yaml").read_text()
    changed = {path for path, text in own.items() if (fork / path).read_text() != text}
    assert changed == {"envs/platform/mlflow.yaml"}
    # The documentation tells people to check the merge like this.
    assert execute(["diff", "platform", "mlflow", "--revision", "ORIG_HEAD"]) == 0


def test_an_outdated_vendored_manifest_is_reported(
    fork: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "install.yaml").write_text(manifest("v3.6.1"))
    assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "install.yaml")]) == 0
    next_version(fork)
    assert execute(["check"]) == 2
    assert "pins v3.6.9" in " ".join(capsys.readouterr().err.split())
