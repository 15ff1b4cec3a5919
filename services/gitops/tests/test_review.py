"""Proves what a pull request may do to production: promotions and rollbacks pass, anything else says why not.

Judged are both plain values, with pins of hypothesis that differ in one part, and real histories in git.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import BadInputError
from gitops.git.repository import Commit, Repository
from gitops.pins.history import Step
from gitops.pins.release import Release
from gitops.promotion.review import Proposed, Review, judge, review
from services.gitops.tests.conftest import commit_all, git

PINS = Path("envs/production/release.yaml")
DIGITS = st.text("0123456789abcdef", min_size=64, max_size=64)


def release(number: int, *, hold: Any = None, **parts: dict[str, Any]) -> Release:
    """Release `number`: all of its pins differ from those of every other number."""
    digest = f"sha256:{number:064x}"
    values: dict[str, dict[str, Any]] = {
        "release": {"chart": f"1.{number}.0", "hold": hold, "metrics": {"accuracy": number / 100}},
        "image": {"repository": "registry.example.com/you/serving", "tag": f"1.{number}.0", "digest": digest},
        "model": {"name": "iris", "version": str(number), "digest": digest, "uri": f"s3://mlflow/{number}/model"},
    }
    for name, fields in parts.items():
        values[name] |= fields
    return msgspec.convert(values, Release)


def step(number: int) -> Step:
    commit = Commit(sha=f"{number:040x}", author="Ada", when=datetime(2026, 1, number, tzinfo=UTC), subject="promote")
    return Step(commit=commit, release=release(number))


def proposed(after: Release | None, **others: Any) -> Proposed:
    """Production ran 1 and runs 2; staging runs 3."""
    known = {"files": [PINS], "before": release(2), "staging": release(3), "earlier": [step(2), step(1)]}
    return Proposed(**{**known, "after": after, **others})


def only_problem(found: Review) -> str:
    assert len(found.problems) == 1, found.problems
    return found.problems[0]


def test_what_staging_runs_may_come() -> None:
    found = judge(proposed(release(3)))
    assert (found.problems, found.origin) == ([], "staging")
    assert {change.pin for change in found.changes} >= {"chart", "image.digest", "model.version", "metrics.accuracy"}


def test_the_first_release_comes_from_staging_too() -> None:
    assert judge(proposed(release(3), before=None, earlier=[])).problems == []
    assert "neither" in only_problem(judge(proposed(release(4), before=None, earlier=[])))


def test_what_production_ran_may_come_back() -> None:
    found = judge(proposed(release(1, hold="back to what answered")))
    assert (found.problems, found.origin) == ([], f"production at {1:040x}"[: len("production at ") + 7])


def test_a_hold_may_come_and_go() -> None:
    assert judge(proposed(release(2, hold="release freeze"))).problems == []
    assert judge(proposed(release(2), before=release(2, hold="release freeze"))).problems == []


@given(part=st.sampled_from(["chart", "image", "model"]), digest=DIGITS)
def test_no_part_of_the_pins_may_be_another(part: str, digest: str) -> None:
    strange: dict[str, dict[str, Any]] = {
        "chart": {"release": {"chart": "9.9.9"}},
        "image": {"image": {"digest": f"sha256:{digest}"}},
        "model": {"model": {"version": "99", "uri": "s3://mlflow/99/model"}},
    }
    assert "neither" in only_problem(judge(proposed(release(3, **strange[part]))))


def test_parts_of_two_releases_make_no_third() -> None:
    mixed = msgspec.structs.replace(release(3), model=release(2).model)
    assert "neither" in only_problem(judge(proposed(mixed)))


@pytest.mark.parametrize("number", [2, 3])
def test_figures_come_with_their_pins(number: int) -> None:
    assert "metrics" in only_problem(judge(proposed(release(number, release={"metrics": {"accuracy": 1.0}}))))


@pytest.mark.parametrize(
    "other", ["services/gitops/src/gitops/promotion/review.py", "envs/production/values.yaml", "README.md"]
)
def test_nothing_hides_beside_the_pins(other: str) -> None:
    assert other in only_problem(judge(proposed(release(3), files=[PINS, Path(other)])))


def test_tuning_moves_no_pin() -> None:
    found = judge(proposed(release(2), files=[Path("envs/production/values.yaml"), Path("README.md")]))
    assert (found.problems, found.origin) == ([], "no pin moves")


def test_no_other_file_belongs_to_production() -> None:
    assert "extra.yaml" in only_problem(judge(proposed(release(2), files=[Path("envs/production/extra.yaml")])))


def test_production_does_not_vanish_by_promotion() -> None:
    assert "gone" in only_problem(judge(proposed(None)))


@pytest.mark.parametrize("hold", ["slow since noon", None], ids=["hold stays", "hold goes in the same breath"])
def test_a_held_production_stays(hold: str | None) -> None:
    found = judge(proposed(release(3, hold=hold), before=release(2, hold="slow since noon")))
    assert "gitops unhold production" in only_problem(found)


def test_a_held_production_can_be_rolled_back_further() -> None:
    back = release(1, hold="slow since yesterday, it turns out")
    assert judge(proposed(back, before=release(2, hold="slow since noon"))).problems == []


def test_what_a_held_staging_runs_goes_nowhere() -> None:
    held = release(3, hold="under observation")
    assert "Staging is held" in only_problem(judge(proposed(release(3), staging=held)))
    # Production may still go back to what it ran.
    assert judge(proposed(release(1, hold="slow"), staging=held)).problems == []


Write = Callable[[str, Release | None], None]


@pytest.fixture
def history(tmp_path: Path) -> tuple[Repository, Write]:
    """A repository in which production was promoted to 1, then 2, and staging runs 3; and how to change it."""
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")

    def write(environment: str, content: Release | None) -> None:
        path = tmp_path / "envs" / environment / "release.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(msgspec.json.encode(content))
        commit_all(tmp_path, f"{environment}")

    for number in (1, 2):
        write("staging", release(number))
        write("production", release(number))
    write("staging", release(3))
    git(tmp_path, "switch", "--quiet", "--create", "proposal")
    return Repository(tmp_path), write


def test_a_promotion_in_git(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(3))
    assert (review(repository, "main").problems, review(repository, "main").origin) == ([], "staging")


def test_a_rollback_in_git(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(1, hold="slow"))
    found = review(repository, "main")
    assert found.problems == []
    assert found.origin.startswith("production at ")


def test_what_the_branch_makes_of_staging_proves_nothing(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("staging", release(4))
    write("production", release(4))
    problems = " ".join(review(repository, "main").problems)
    assert "neither" in problems
    assert "envs/staging/release.yaml" in problems


def test_main_that_went_on_is_what_counts(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", release(3))
    git(repository.root, "switch", "--quiet", "main")
    write("staging", release(4))
    git(repository.root, "switch", "--quiet", "proposal")
    assert "neither" in only_problem(review(repository, "main"))


def test_a_removal_in_git(history: tuple[Repository, Write]) -> None:
    repository, write = history
    write("production", None)
    assert "gone" in only_problem(review(repository, "main"))


def test_a_field_that_nothing_knows_is_named(history: tuple[Repository, Write]) -> None:
    repository, _ = history
    values = msgspec.to_builtins(release(3)) | {"replicas": 50}
    (repository.root / PINS).write_bytes(msgspec.json.encode(values))
    commit_all(repository.root)
    with pytest.raises(BadInputError, match=r"production/release.yaml at \w+: .*replicas"):
        review(repository, "main")


def test_a_base_that_is_not_there_is_named(history: tuple[Repository, Write]) -> None:
    with pytest.raises(BadInputError, match="--base: git knows no 'nothing'"):
        review(history[0], "nothing")
