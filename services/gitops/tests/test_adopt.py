"""`gitops adopt` on the project's own files: only platform.yaml changes."""

import json
from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.documents import loaded
from gitops.platform.reader import load_platform
from services.gitops.tests.conftest import commit_all, git

FIRST = ("--repo", "https://git.example.com/flora/petals.git", "--registry", "registry.example.com/flora/petals")
SECOND = ("--repo", "http://git.cluster.local:8080/models.git", "--registry", "10.0.0.1:5000/e2e")


def changed(fork: Path) -> list[str]:
    return git(fork, "status", "--porcelain", "--untracked-files=all").splitlines()


def test_adopting_a_fresh_fork_changes_one_file(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comments = [line for line in (fork / "platform.yaml").read_text().splitlines() if line.startswith("#")]
    before = load_platform(fork)
    assert not before.adopted
    assert execute(["adopt", *FIRST, "--branch", "trunk", "--forge", "gitlab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["platform.yaml"]
    assert changed(fork) == ["M platform.yaml"]
    now = load_platform(fork)
    assert (now.repository, now.registry.prefix, now.branch, now.forge) == (FIRST[1], FIRST[3], "trunk", "gitlab")
    assert (now.environments, now.services) == (before.environments, before.services)
    assert [line for line in (fork / "platform.yaml").read_text().splitlines() if line.startswith("#")] == comments


def test_adopting_again_changes_nothing_and_a_new_address_is_one_edit(
    fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["adopt", *FIRST]) == 0
    assert "git add platform.yaml" in " ".join(capsys.readouterr().out.split())
    commit_all(fork)
    assert execute(["adopt", *FIRST]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert changed(fork) == []
    once = (fork / "platform.yaml").read_text()

    api = ("--forge", "gitea", "--forge-api", "http://git.cluster.local:8080/api/v1")
    assert execute(["adopt", *SECOND, "--registry-plain-http", *api]) == 0
    now = load_platform(fork)
    assert now.registry.plain_http
    assert (now.forge_kind, now.forge_api) == ("gitea", api[3])
    assert execute(["adopt", "--registry", "other.example.com/e2e"]) == 0
    assert (load_platform(fork).repository, load_platform(fork).registry.plain_http) == (SECOND[1], True)
    assert execute(["adopt", *FIRST, "--no-registry-plain-http", "--forge", "github", "--forge-api", ""]) == 0
    assert loaded((fork / "platform.yaml").read_text()) == loaded(once)


def test_a_slug_that_is_a_local_path_is_only_a_slug(fork: Path) -> None:
    where = ("--repo", "https://git.example.com/envs/staging.git", "--registry", "git.example.com/envs/staging")
    assert execute(["adopt", *where]) == 0
    commit_all(fork)
    assert execute(["adopt", *FIRST]) == 0
    assert changed(fork) == ["M platform.yaml"]


def test_a_forge_with_its_own_address(fork: Path) -> None:
    place = ("--forge", "gitea", "--forge-url", "https://code.example.com/git")
    assert execute(["adopt", *FIRST, *place]) == 0
    now = load_platform(fork)
    assert (now.forge_kind, now.web) == ("gitea", f"https://code.example.com/git/{now.slug}")
    # Another change keeps the forge's address, but another kind of forge removes it.
    assert execute(["adopt", "--branch", "trunk"]) == 0
    assert load_platform(fork).forge_url == "https://code.example.com/git"
    assert execute(["adopt", *FIRST, "--forge", "gitlab"]) == 0
    assert load_platform(fork).forge == "gitlab"


def test_an_address_that_does_not_show_its_forge_is_pointed_out(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("adopt", "--repo", "https://git.example.com/a/b.git", "--registry", FIRST[3])
    assert execute([*where]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "https://git.example.com/a/b.git does not show its forge, so it is still github: --forge changes it" in said
    assert execute([*where, "--forge", "gitea"]) == 0
    assert "does not show" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("repository", "forge"), [("https://gitlab.com/a/b/c.git", "gitlab"), ("git@codeberg.org:a/b.git", "gitea")]
)
def test_the_kind_of_forge_follows_from_a_known_host(fork: Path, repository: str, forge: str) -> None:
    assert execute(["adopt", "--repo", repository, "--registry", FIRST[3]]) == 0
    assert load_platform(fork).forge_kind == forge


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--repo", FIRST[1]], "both --repo and --registry"),
        ([], "both --repo and --registry"),
        (["--repo", "flora/petals", "--registry", FIRST[3]], "is not an address to clone from"),
        (["--repo", "https://ada:secret@git.example.com/a/b.git", "--registry", FIRST[3]], "password does not belong"),
        (["--repo", FIRST[1], "--registry", "https://registry.example.com/acme"], "without a scheme"),
        (["--repo", FIRST[1], "--registry", "ghcr.io/Acme/Pipeline"], "lower case"),
        (["--repo", FIRST[1], "--registry", "ghcr.io"], "is not a registry with a path"),
        ([*FIRST, "--branch", "a..b"], "is not a valid name of a branch"),
        ([*FIRST, "--vendor-argocd", "missing.yaml"], "missing.yaml cannot be read"),
        ([*FIRST, "--vendor-argocd", "argocd/root.yaml"], "is not Argo CD's install manifest"),
    ],
)
def test_an_invalid_address_is_refused_and_nothing_is_written(
    fork: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["adopt", *options]) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert changed(fork) == []


def test_a_sparse_checkout_is_refused_with_a_remedy(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(fork, "status", "--porcelain")
    git(fork, "sparse-checkout", "set", "envs")
    assert execute(["adopt", *FIRST]) == 2
    assert "git sparse-checkout disable" in " ".join(capsys.readouterr().err.split())
    assert changed(fork) == []
    git(fork, "sparse-checkout", "disable")
    assert execute(["adopt", *FIRST]) == 0


def test_without_platform_yaml_the_error_names_a_remedy(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fork / "platform.yaml").unlink()
    assert execute(["adopt", *FIRST]) == 2
    assert "git checkout HEAD -- platform.yaml" in " ".join(capsys.readouterr().err.split())
    (fork / "argocd/identity.yaml").write_text("repository: https://github.com/a/b.git\n")
    assert execute(["adopt", *FIRST]) == 2
    assert "gitops migrate" in capsys.readouterr().err


def manifest(version: str) -> str:
    return (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        "metadata:\n  name: applications.argoproj.io\n---\n"
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: argocd-application-controller\n"
        f"spec:\n  template:\n    spec:\n      containers:\n      - image: quay.io/argoproj/argocd:{version}\n"
    )


def test_a_vendored_manifest_replaces_the_download(
    fork: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = loaded((fork / "argocd/install/kustomization.yaml").read_text())["resources"][0]
    version = remote.split("/")[-3]

    (tmp_path / "wrong.yaml").write_text(manifest("v1.0.0"))
    assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "wrong.yaml")]) == 2
    assert f"use the manifest of {version}" in " ".join(capsys.readouterr().err.split())
    assert changed(fork) == []

    (tmp_path / "install.yaml").write_text(manifest(version))
    for _ in range(2):
        assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "install.yaml")]) == 0
        assert changed(fork) == [
            "M platform.yaml",
            "?? argocd/vendored/install.yaml",
            "?? argocd/vendored/kustomization.yaml",
        ]
        assert load_platform(fork).argocd.vendored
        kustomization = loaded((fork / "argocd/vendored/kustomization.yaml").read_text())
        assert (kustomization["resources"], kustomization["components"]) == (["install.yaml"], ["../patches"])
        assert (fork / "argocd/vendored/install.yaml").read_text() == manifest(version)
    assert "nothing to change" in capsys.readouterr().out
