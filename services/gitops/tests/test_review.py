"""What a pull request may change in environments with a `from`: promotions and rollbacks pass, everything else does
not.

These tests use git histories; `test_verdict.py` uses plain values.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gitops.cli import execute
from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.pins.release import Release
from gitops.promotion.review import review_changes
from services.gitops.tests.conftest import commit_all, git, release_file
from services.gitops.tests.test_verdict import only_problem, release, shadowed

PINS = release_file("production")
TUNING = PINS.with_name("values.yaml")
PLATFORM = """\
repository: https://git.example.com/acme/pipeline.git
registry: {prefix: registry.example.com/acme}
environments:
  - {name: staging}
  - {name: production, from: staging}
  - {name: eu, from: production}
services:
  - {name: iris, model: iris}
  - {name: wine, model: wine}
"""


Write = Callable[..., str]


@pytest.fixture
def history(tmp_path: Path) -> tuple[Repository, Write]:
    """A repository where production was promoted to 1, then 2, and staging runs 3; and a function that changes it."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "platform.yaml").write_text(PLATFORM)

    def write(place: str | Path, content: Release | str | None) -> str:
        path = tmp_path / (release_file(place) if isinstance(place, str) else place)
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        elif isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(msgspec.json.encode(content))
        return commit_all(tmp_path, f"{place}")

    for number in (1, 2):
        write("staging", release(number))
        write("production", release(number))
    write("staging", release(3))
    git(tmp_path, "switch", "--quiet", "--create", "proposal")
    return Repository(tmp_path), write


def test_a_promotion_is_allowed(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(3))
    found = review_changes(repository, "main")
    assert (found.problems, [told.origin for told in found.targets]) == ([], ["staging/iris"])


def test_a_shadow_must_be_the_only_change(history: tuple[Repository, Write]) -> None:
    """It must be a version that staging runs or ran, and no other pin may change."""
    repository, write = history
    write("production", shadowed(3))
    assert review_changes(repository, "main").problems == []
    write("production", shadowed(1))
    assert review_changes(repository, "main").problems == []
    write("production", shadowed(4))
    assert "ever answered in staging/iris" in " ".join(review_changes(repository, "main").problems)
    write("production", shadowed(1, release(3)))
    assert "must change nothing else" in " ".join(review_changes(repository, "main").problems)


def test_a_rollback_is_allowed(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(1, hold="slow"))
    found = review_changes(repository, "main")
    assert found.problems == []
    assert found.targets[0].origin.startswith("production/iris at ")


def test_each_environment_is_judged_by_its_source(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("eu", release(2))
    assert [told.origin for told in review_changes(repository, "main").targets] == ["production/iris"]
    write("eu", release(3))
    assert "neither those of production/iris" in only_problem(review_changes(repository, "main"))


def test_pins_of_another_service_are_refused(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(release_file("production", "wine"), release(3))
    assert "production/wine would be neither" in only_problem(review_changes(repository, "main"))


def test_changes_of_staging_in_the_branch_do_not_count(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("staging", release(4))
    write("production", release(4))
    problems = " ".join(review_changes(repository, "main").problems)
    assert "neither" in problems
    assert "envs/staging/iris/release.yaml" in problems


def test_the_newest_commit_of_main_counts(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(3))
    git(repository.root, "switch", "--quiet", "main")
    write("staging", release(4))
    git(repository.root, "switch", "--quiet", "proposal")
    assert "neither" in review_changes(repository, "main").problems[0]


def test_a_change_that_a_later_commit_reverts_is_judged_too(history: tuple[Repository, Write]) -> None:
    """After a merge by rebase, production would have run it, so a later rollback could restore it."""
    repository, write = history
    strange = write("production", release(9))
    write("production", release(2))
    assert f"At {strange[:7]}: The pins of production/iris would be neither" in only_problem(
        review_changes(repository, "main")
    )
    # After a merge without the pull request's branch, it does not count as earlier pins either.
    git(repository.root, "switch", "--quiet", "main")
    git(repository.root, "merge", "--quiet", "--no-ff", "--no-edit", "proposal")
    git(repository.root, "switch", "--quiet", "--create", "again")
    write("production", release(9))
    assert "neither" in only_problem(review_changes(repository, "main"))


def test_values_in_an_earlier_commit_are_judged(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(TUNING, "model: {stage: candidate}\n")
    write(TUNING, "replicaCount: 3\n")
    assert "model.stage" in only_problem(review_changes(repository, "main"))


def test_a_merge_of_main_does_not_count_as_a_change(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(3))
    git(repository.root, "switch", "--quiet", "main")
    write(Path("README.md"), "went on\n")
    git(repository.root, "switch", "--quiet", "proposal")
    git(repository.root, "merge", "--quiet", "--no-edit", "main")
    assert review_changes(repository, "main").problems == []


def test_changes_in_a_merge_commit_are_judged(history: tuple[Repository, Write]) -> None:
    repository, write = history
    git(repository.root, "switch", "--quiet", "main")
    write(Path("README.md"), "went on\n")
    git(repository.root, "switch", "--quiet", "proposal")
    write(Path("notes.txt"), "mine\n")
    git(repository.root, "merge", "--quiet", "--no-commit", "main")
    (repository.root / PINS).write_bytes(msgspec.json.encode(release(9)))
    commit_all(repository.root, "merge")
    write("production", release(2))
    assert "neither" in " ".join(review_changes(repository, "main").problems)


@pytest.mark.parametrize("other", ["services/review.py", "envs/production/iris/values.yaml", "platform.yaml"])
def test_nothing_else_may_change_with_the_pins(history: tuple[Repository, Write], other: str) -> None:
    repository, write = history
    write("production", release(3))
    write(Path(other), PLATFORM + "branch: other\n" if other == "platform.yaml" else "replicaCount: 3\n")
    assert other in only_problem(review_changes(repository, "main"))


def test_the_order_of_environments_is_that_of_the_base(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(Path("platform.yaml"), PLATFORM.replace("production, from: staging", "production"))
    write("production", release(9))
    problems = " ".join(review_changes(repository, "main").problems)
    assert "neither those of staging/iris" in problems
    assert "platform.yaml" in problems


def test_platform_yaml_and_pins_may_not_change_together(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(Path("platform.yaml"), PLATFORM + "branch: other\n")
    assert review_changes(repository, "main").problems == []
    write("staging", release(4))
    assert "must not move pins" in only_problem(review_changes(repository, "main"))


def test_tuning_moves_no_pin(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(TUNING, "replicaCount: 3\nimage: {pullPolicy: Always}\n")
    write(Path("README.md"), "told\n")
    found = review_changes(repository, "main")
    assert (found.problems, found.targets) == ([], [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: {stage: candidate}", "model.stage"),
        ("model: {version: '9'}", "model.version"),
        ("image: {tag: other}", "image.tag"),
        ("image: other", "image is written by `gitops`"),
        ("shadow: {version: '9'}", "shadow.version"),
        ("shadow: {minRows: 1000, sample: 1.0}", "shadow.sample"),
        ("extraEnv: [{name: SHADOW_URI, value: 's3://elsewhere/model'}]", "SHADOW_URI"),
        ("extraModels: [{name: roses}]", "extraModels[0] (roses) follows an alias"),
        ("extraModels: [{name: roses, version: '1', digest: x, stage: best}]", "follows an alias"),
        ("extraModels: roses", "is not a list"),
        ("extraEnv: [{name: MODEL_STAGE, value: best}]", "MODEL_STAGE"),
        ("extraEnv: {MODEL_URI: s3://other}", "MODEL_URI"),
        ("extraEnv: 5", "extraEnv is not a list"),
        ("a: [", "is not valid YAML"),
        ("a: 1\n---\nmodel: {stage: best}", "is not valid YAML"),
        ("- a", "does not hold a mapping"),
    ],
)
def test_values_may_not_select_a_model(history: tuple[Repository, Write], text: str, named: str) -> None:
    repository, write = history
    for path in (TUNING, Path("envs/production/values.yaml"), Path("envs/values.yaml")):
        write(path, text)
        assert named in only_problem(review_changes(repository, "main"))
        git(repository.root, "reset", "--quiet", "--hard", "main")
    # In environments without `from`, people may set what they want.
    write(Path("envs/staging/iris/values.yaml"), text)
    assert review_changes(repository, "main").problems == []


@pytest.mark.parametrize("path", [str(TUNING), str(PINS), "envs/production/iris", "envs/values.yaml"])
def test_a_symbolic_link_is_no_file_of_an_environment(history: tuple[Repository, Write], path: str) -> None:
    repository, _ = history
    link = repository.root / path
    if link.is_dir():
        git(repository.root, "rm", "--quiet", "-r", path)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")
    commit_all(repository.root)
    assert f"{path} is not a regular file" in " ".join(review_changes(repository, "main").problems)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("envs/production/iris/extra.yaml", "is neither"),
        ("envs/production/extra.yaml", "is neither"),
        ("envs/production/roses/values.yaml", "no service 'roses'"),
        ("envs/Production/iris/values.yaml", "no environment 'Production'"),
    ],
)
def test_other_files_in_an_environment_are_refused(history: tuple[Repository, Write], path: str, named: str) -> None:
    repository, write = history
    write(Path(path), "replicaCount: 1\n")
    assert named in only_problem(review_changes(repository, "main"))


def test_a_service_is_added_without_pins(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write(Path("platform.yaml"), PLATFORM + "  - {name: roses, model: roses}\n")
    write(Path("envs/production/roses/values.yaml"), "replicaCount: 1\n")
    assert review_changes(repository, "main").problems == []
    write(release_file("production", "roses"), release(3))
    assert "add production/roses to platform.yaml first" in " ".join(review_changes(repository, "main").problems)


def test_pins_are_removed_only_with_their_service(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", None)
    assert "is deleted" in only_problem(review_changes(repository, "main"))
    write(Path("platform.yaml"), PLATFORM.replace("  - {name: iris, model: iris}\n", ""))
    write("staging", None)
    assert review_changes(repository, "main").problems == []


def test_an_unknown_field_is_named(history: tuple[Repository, Write]) -> None:
    repository, _ = history
    values = msgspec.to_builtins(release(3)) | {"replicas": 50}
    (repository.root / PINS).write_bytes(msgspec.json.encode(values))
    commit_all(repository.root)
    assert "replicas" in only_problem(review_changes(repository, "main"))


def test_a_missing_base_is_named(history: tuple[Repository, Write]) -> None:
    with pytest.raises(BadInputError, match="--base: git does not know 'nothing'"):
        review_changes(history[0], "nothing")


def test_the_bases_own_gitops_judges_a_head_that_is_not_checked_out(
    history: tuple[Repository, Write], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository, write = history
    head = write("production", release(9))
    git(repository.root, "switch", "--quiet", "main")
    monkeypatch.chdir(repository.root)
    assert execute(["review", "--base", "main", "--head", head]) == 3
    assert "neither" in capsys.readouterr().err
    assert execute(["review", "--base", "main", "--head", "main"]) == 0


def test_a_clone_without_history_cannot_judge(history: tuple[Repository, Write], tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{history[0].root}", "shallow")
    with pytest.raises(BadInputError, match="fetch-depth: 0"):
        review_changes(Repository(tmp_path / "shallow"), "HEAD")
