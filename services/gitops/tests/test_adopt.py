"""`gitops adopt` on the project's own files: nothing of the old place is left, however often the fork moves."""

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops.cli import execute
from gitops.fork.adopt import Rewriter
from gitops.platform.identity import Identity, load_identity
from services.gitops.tests.conftest import commit_all, git

FIRST = ("--repo", "https://git.example.com/flora/petals.git", "--registry", "registry.example.com/flora/petals")
SECOND = ("--repo", "http://git.cluster.local:8080/models.git", "--registry", "10.0.0.1:5000/e2e")


def mentions(folder: Path, *words: str) -> list[str]:
    """Files that still hold one of the words."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and not {".git", ".cache"} & set(path.parts)
        and any(word in path.read_text() for word in words)
    ]


def old_words(folder: Path) -> list[str]:
    identity = load_identity(folder)
    return [identity.slug, identity.registry]


def test_a_fresh_fork_becomes_ones_own_and_nothing_of_the_old_place_is_left(
    fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fork / "notes.md").write_text(
        f"Badge: {load_identity(fork).web}/actions/badge.svg, `{load_identity(fork).slug}`.\n"
    )
    (fork / "picture.bin").write_bytes(b"\0" + load_identity(fork).slug.encode())
    commit_all(fork)
    old = old_words(fork)
    files = mentions(fork, *old)
    assert {"apps/serving.yaml", "argocd/root.yaml", "envs/platform/mlflow.yaml", "notes.md"} <= set(files)

    assert execute(["adopt", *FIRST, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {entry["file"] for entry in said["rewritten"]} == set(git(fork, "diff", "--name-only").splitlines())
    assert mentions(fork, *old) == ["picture.bin"]
    assert load_identity(fork) == Identity(repository=FIRST[1], registry=FIRST[3])
    serving = yaml.safe_load((fork / "apps/serving.yaml").read_text())
    assert serving["spec"]["template"]["spec"]["sources"][0]["repoURL"] == "registry.example.com/flora/petals/charts"
    assert (fork / "notes.md").read_text() == (
        "Badge: https://git.example.com/flora/petals/actions/badge.svg, `flora/petals`.\n"
    )


def test_adopting_again_changes_nothing_and_a_move_leaves_nothing_of_the_place_before(
    fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["adopt", *FIRST]) == 0
    commit_all(fork)
    assert execute(["adopt", *FIRST]) == 0
    assert "Nothing to rewrite" in capsys.readouterr().out
    assert git(fork, "status", "--porcelain") == ""
    once = {path: (fork / path).read_text() for path in mentions(fork, *old_words(fork))}

    assert execute(["adopt", *SECOND, "--registry-plain-http"]) == 0
    assert mentions(fork, "flora/petals") == []
    assert load_identity(fork).plain_http
    commit_all(fork)
    assert execute(["adopt", *FIRST, "--no-registry-plain-http"]) == 0
    assert {path: (fork / path).read_text() for path in once} == once


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--repo", FIRST[1]], "both --repo and --registry"),
        ([], "both --repo and --registry"),
        (["--repo", "flora/petals", "--registry", FIRST[3]], "no address to clone from"),
        (["--repo", "https://ada:secret@git.example.com/a/b.git", "--registry", FIRST[3]], "password does not belong"),
        (["--repo", FIRST[1], "--registry", "https://registry.example.com/acme"], "without a scheme"),
        (["--repo", FIRST[1], "--registry", "ghcr.io/Acme/Pipeline"], "lower case"),
        (["--repo", FIRST[1], "--registry", "ghcr.io"], "no registry with a path"),
        ([*FIRST, "--vendor-argocd", "missing.yaml"], "missing.yaml cannot be read"),
        ([*FIRST, "--vendor-argocd", "argocd/root.yaml"], "is not Argo CD's install manifest"),
    ],
)
def test_a_place_that_cannot_be_is_refused_and_nothing_is_written(
    fork: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["adopt", *options]) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert git(fork, "status", "--porcelain") == ""


def test_without_an_identity_the_way_out_is_named(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fork / "argocd/identity.yaml").unlink()
    assert execute(["adopt", *FIRST]) == 2
    assert "git checkout HEAD -- argocd/identity.yaml" in capsys.readouterr().err


def manifest(version: str) -> str:
    return (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        "metadata:\n  name: applications.argoproj.io\n---\n"
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: argocd-application-controller\n"
        f"spec:\n  template:\n    spec:\n      containers:\n      - image: quay.io/argoproj/argocd:{version}\n"
    )


def test_a_vendored_manifest_takes_the_place_of_the_download(
    fork: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kustomization = fork / "argocd/install/kustomization.yaml"
    remote = [line for line in yaml.safe_load(kustomization.read_text())["resources"] if line.startswith("https://")]
    version = remote[0].split("/")[-3]
    before = kustomization.read_text()

    (tmp_path / "wrong.yaml").write_text(manifest("v1.0.0"))
    assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "wrong.yaml")]) == 2
    assert f"take the manifest of {version}" in " ".join(capsys.readouterr().err.split())
    assert git(fork, "status", "--porcelain") == ""

    (tmp_path / "install.yaml").write_text(manifest(version))
    for _ in range(2):
        assert execute(["adopt", *FIRST, "--vendor-argocd", str(tmp_path / "install.yaml")]) == 0
        assert kustomization.read_text() == before.replace(remote[0], "vendored.yaml")
        assert (fork / "argocd/install/vendored.yaml").read_text() == manifest(version)


@pytest.mark.parametrize(
    ("repository", "slug", "web", "host"),
    [
        ("https://github.com/flora/petals.git", "flora/petals", "https://github.com/flora/petals", "github.com"),
        ("https://gitlab.example.com/a/b/c", "a/b/c", "https://gitlab.example.com/a/b/c", "gitlab.example.com"),
        ("git@github.com:flora/petals.git", "flora/petals", "https://github.com/flora/petals", "github.com"),
        ("ssh://git@host:2222/flora/petals.git", "flora/petals", "https://host/flora/petals", "host:2222"),
        ("http://git.e2e:8080/one.git", "git.e2e:8080/one", "http://git.e2e:8080/one", "git.e2e:8080"),
    ],
)
def test_an_address_says_how_else_a_repository_is_mentioned(repository: str, slug: str, web: str, host: str) -> None:
    identity = Identity(repository=repository, registry="ghcr.io/flora/petals")
    assert (identity.slug, identity.web, identity.host) == (slug, web, host)


@pytest.mark.parametrize("text", ["flora/petals-2", "flora/petalss", "my.flora/petals", "flora/petals.js"])
def test_names_that_only_begin_or_end_alike_are_no_mention(text: str) -> None:
    before = Identity(repository="https://github.com/flora/petals.git", registry="ghcr.io/flora/petals")
    now = msgspec.structs.replace(before, repository="https://github.com/else/where.git", registry="ghcr.io/else/where")
    assert Rewriter(before, now)(text) == (text, 0)


names = st.from_regex(r"[a-z][a-z0-9]{2,8}", fullmatch=True)
identities = st.builds(
    lambda host, owner, name, registry: Identity(
        repository=f"https://{host}.example/{owner}/{name}.git", registry=f"{registry}.example:5000/{owner}/{name}"
    ),
    names,
    names,
    names,
    names,
)


@given(first=identities, second=identities, text=st.text("ab/:.- \n", max_size=20))
def test_a_move_there_and_back_restores_every_text(first: Identity, second: Identity, text: str) -> None:
    content = f"{text} {first.repository}\n{first.web}/x ({first.registry}/charts) {first.slug}. {first.ssh}\n"
    moved, count = Rewriter(first, second)(content)
    assert count == 5
    assert Rewriter(second, first)(moved)[0] == content
