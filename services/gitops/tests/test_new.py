"""`gitops new` and `gitops remove`: one command makes one commit, and files of others do not change."""

import json
from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.documents import loaded
from gitops.fork.owners import owners_of
from gitops.platform.reader import load_platform
from services.gitops.tests.conftest import commit_all, git

WINE = ("new", "service", "wine", "--model", "wine-classifier", "--owner", "@flora/wine")
QA = ("new", "environment", "qa", "--from", "staging")


def hosts(fork: Path, target: str) -> list[str]:
    found: list[str] = loaded((fork / "envs" / target / "values.yaml").read_text())["ingress"]["hosts"]
    return found


def in_origin(origin: Path, path: str) -> str:
    return git(origin, "show", f"main:{path}")


def test_a_new_service_is_one_commit_from_which_everything_derives(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    comments = [line for line in (fork / "platform.yaml").read_text().splitlines() if line.startswith("#")]
    assert execute([*WINE]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "gitops bump staging/wine --image" in said
    assert "gitops promote" in said
    assert git(origin, "rev-list", "--count", f"{before}..main") == "1"
    assert git(fork, "status", "--porcelain") == ""

    platform = load_platform(fork)
    assert [entry.name for entry in platform.services] == ["iris", "wine"]
    assert (platform.services[1].model, platform.services[1].owner) == ("wine-classifier", "@flora/wine")
    assert (hosts(fork, "staging/wine"), hosts(fork, "production/wine")) == (
        ["wine-staging.localhost"],
        ["wine.localhost"],
    )
    assert not list((fork / "envs").glob("*/wine/release.yaml"))
    owners = (fork / ".github/CODEOWNERS").read_text()
    assert owners_of(owners, "envs/production/wine/release.yaml") == ["@flora/wine"]
    assert owners_of(owners, "models/wine/training.yaml") == ["@flora/wine"]
    assert owners_of(owners, "envs/production/iris/release.yaml") == ["@OWNER"]
    assert [line for line in (fork / "platform.yaml").read_text().splitlines() if line.startswith("#")] == comments
    changed = git(fork, "diff", "--stat", "--name-only", "HEAD^").splitlines()
    assert changed == [
        ".github/CODEOWNERS",
        "envs/production/wine/values.yaml",
        "envs/staging/wine/values.yaml",
        "platform.yaml",
    ]


def test_a_new_environment_is_one_commit_with_the_tuning_of_its_source(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert execute([*QA, "--min-age", "1h", "--namespace", "ml-qa"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "gitops promote qa" in said
    assert "gitops bootstrap" in said
    assert "It is next to production" in said
    assert git(origin, "rev-list", "--count", f"{before}..main") == "1"
    platform = load_platform(fork)
    assert [entry.name for entry in platform.environments] == ["staging", "qa", "production"]
    qa = platform.environments[1]
    assert (qa.source, qa.min_age, qa.where) == ("staging", "1h", "ml-qa")
    assert (fork / "envs/qa/values.yaml").read_text() == (fork / "envs/staging/values.yaml").read_text()
    assert hosts(fork, "qa/iris") == ["iris-qa.localhost"]
    assert (fork / "envs/qa/iris/values.yaml").read_text().startswith("# Tuning of this service here.")
    assert owners_of((fork / ".github/CODEOWNERS").read_text(), "envs/qa/values.yaml") == ["@OWNER"]
    assert execute(["new", "environment", "eu", "--from", "production"]) == 0
    assert hosts(fork, "eu/iris") == ["iris-eu.localhost"]
    # Owners of a service take precedence in each environment, whichever was added first.
    assert execute([*WINE]) == 0
    assert execute(["new", "environment", "us", "--from", "production"]) == 0
    owners = (fork / ".github/CODEOWNERS").read_text()
    assert owners_of(owners, "envs/us/wine/release.yaml") == ["@flora/wine"]
    assert owners_of(owners, "envs/us/iris/release.yaml") == ["@OWNER"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["new", "service", "iris", "--model", "x", "--owner", "@a"], "The service 'iris' already exists"),
        (["new", "service", "Wine", "--model", "x", "--owner", "@a"], "'Wine' cannot be the name of objects"),
        (["new", "service", "w" * 40, "--model", "x", "--owner", "@a"], "at most 45"),
        (["new", "service", "wine", "--model", "iris-classifier", "--owner", "@a"], "both serve iris-classifier"),
        (["new", "service", "wine", "--model", "x", "--owner", "team"], "is not @USER"),
        ([*WINE, "--environments", "qa"], "There is no environment 'qa'"),
        (["new", "environment", "staging", "--from", "staging"], "The environment 'staging' already exists"),
        (["new", "environment", "qa", "--from", "dev"], "There is no environment 'dev'"),
        (["new", "environment", "EU.Prod", "--from", "staging"], "'EU.Prod' cannot be the name of objects"),
        ([*QA, "--cluster", "west"], "is not in `clusters`"),
        ([*QA, "--namespace", "ml-pipeline-staging"], "share the namespace"),
        ([*QA, "--min-age", "soon"], "minAge"),
        (["remove", "service", "wine", "--yes"], "There is no service 'wine'"),
        (["remove", "environment", "staging", "--yes", "--git-only"], "production has `from: staging`"),
    ],
)
def test_invalid_arguments_are_refused_before_a_commit(
    fork: Path, origin: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert execute(arguments) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert git(origin, "rev-parse", "main") == before
    assert git(fork, "status", "--porcelain") == ""


def test_a_host_name_in_use_is_refused(fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fork / "envs/production/iris/values.yaml"
    path.write_text("ingress:\n  hosts: [iris.localhost, wine-staging.localhost]\n")
    commit_all(fork)
    git(fork, "push", "--quiet")
    assert execute([*WINE]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "uses the host wine-staging.localhost, which" in said


def test_a_dry_run_and_a_local_commit_push_nothing(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert execute([*WINE, "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["targets"][0]
    assert "envs/staging/wine/values.yaml" in shown["files"]
    assert git(fork, "rev-parse", "HEAD") == before
    assert execute([*WINE, "--no-push", "--environments", "staging"]) == 0
    assert git(fork, "log", "--format=%s", "-1") == "new(service): wine"
    assert not (fork / "envs/production/wine").exists()
    assert git(origin, "rev-parse", "main") == before


def test_existing_tuning_stays(fork: Path, origin: Path) -> None:
    own = "ingress: {hosts: [my-wine.example.com]}\n"
    (fork / "envs/staging/wine").mkdir()
    (fork / "envs/staging/wine/values.yaml").write_text(own)
    commit_all(fork)
    git(fork, "push", "--quiet")
    assert execute([*WINE]) == 0
    assert (fork / "envs/staging/wine/values.yaml").read_text() == own


@pytest.mark.parametrize(
    ("name", "model", "names", "owned", "others"),
    [
        ("bottles", "wine-classifier", "models/wine/training.yaml and `training run`", "wine", "bottles"),
        ("pears", "pears-classifier", "models/pears/training.yaml and `training run`", "pears", "wine"),
        ("wine", "grapes", "a new folder of models/ and `training run`", None, "wine"),
    ],
)
def test_a_new_service_goes_with_the_folder_that_trains_its_model(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str], *, name: str, model: str, names: str,
    owned: str | None, others: str,
) -> None:  # fmt: skip
    (fork / "models/broken").mkdir()
    (fork / "models/broken/training.yaml").write_text("name: [")
    commit_all(fork)
    git(fork, "push", "--quiet")
    assert execute(["new", "service", name, "--model", model, "--owner", "@new"]) == 0
    assert f"A version of {model}: {names}" in " ".join(capsys.readouterr().out.split())
    owners = (fork / ".github/CODEOWNERS").read_text()
    if owned:
        assert owners_of(owners, f"models/{owned}/training.yaml") == ["@new"]
    assert owners_of(owners, f"models/{others}/training.yaml") == ["@OWNER"]


def _kept(fork: Path) -> dict[str, str]:
    """Return the content of every tracked file; for a link, its target."""
    found = {path: fork / path for path in git(fork, "ls-files").splitlines()}
    return {path: str(file.readlink()) if file.is_symlink() else file.read_text() for path, file in found.items()}


def test_remove_undoes_new_after_a_dry_run(fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = _kept(fork)
    assert execute([*WINE]) == 0
    assert execute([*QA]) == 0
    (fork / "envs/staging/wine/release.yaml").write_text("pins: {}\n")
    commit_all(fork)
    git(fork, "push", "--quiet")
    before = git(origin, "rev-parse", "main")

    assert execute(["remove", "service", "wine", "--git-only"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "dry run" in said
    assert "envs/staging/wine/release.yaml" in said
    assert git(origin, "rev-parse", "main") == before

    assert execute(["remove", "service", "wine", "--git-only", "--yes"]) == 0
    assert execute(["remove", "environment", "qa", "--git-only", "--yes"]) == 0
    now = _kept(fork)
    models = "/models/wine/             @flora/wine\n"
    assert now.pop(".github/CODEOWNERS") == held.pop(".github/CODEOWNERS") + models
    assert now == held
    # A second run completes a removal that was interrupted after the change in git.
    assert execute(["remove", "environment", "qa", "--git-only", "--yes"]) == 0


@pytest.mark.parametrize("subject", ["remove(service): wine (#12)", "Merge pull request #12 from acme/remove"])
def test_a_removal_continues_whatever_the_message_of_the_merge(fork: Path, origin: Path, subject: str) -> None:
    """GitHub and Gitea append the number of the pull request to the title."""
    assert execute([*WINE]) == 0
    assert execute(["remove", "service", "wine", "--git-only", "--yes"]) == 0
    git(fork, "commit", "--quiet", "--amend", "--message", subject)
    git(fork, "push", "--quiet", "--force")
    assert execute(["remove", "service", "wine", "--git-only", "--yes"]) == 0
    assert execute(["remove", "service", "nobody", "--git-only", "--yes"]) == 2


def test_a_removal_reports_what_it_leaves(fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["remove", "service", "iris", "--git-only"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "by hand: models/iris stays, so iris-classifier is still trained: git rm -r models/iris" in said
    assert "models/wine" not in said
    assert "by hand: The store's user `serving` is shared by all services" in said
    assert execute(["remove", "environment", "production", "--git-only"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is still trained" not in said
    assert "is shared by all services" in said


def test_without_a_cluster_nothing_is_removed(fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = git(origin, "rev-parse", "main")
    assert execute(["remove", "service", "iris", "--yes"]) == 1
    assert "--git-only" in capsys.readouterr().err
    assert git(origin, "rev-parse", "main") == before
