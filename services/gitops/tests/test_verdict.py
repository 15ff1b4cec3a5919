"""Verdicts about pull requests on plain values, with generated pins that differ in one part."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.git.repository import Commit
from gitops.pins.history import Step
from gitops.pins.release import Release
from gitops.promotion.files import problems_of_tuning
from gitops.promotion.review import Review
from gitops.promotion.verdict import Proposed, Verdict, judge
from services.gitops.tests.conftest import release_file, target

TUNING = release_file("production").with_name("values.yaml")
DIGITS = st.text("0123456789abcdef", min_size=64, max_size=64)


def release(number: int, *, hold: Any = None, **parts: dict[str, Any]) -> Release:
    """Return release `number`: each of its pins differs from those of every other number."""
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
    """Return a proposal: production ran 1 and runs 2; staging runs 3."""
    fed = target("production", source="staging")
    known = {"target": fed, "source": target("staging"), "before": release(2), "feeding": release(3)}
    return Proposed(**{**known, "earlier": [step(2), step(1)], "after": after, **others})


def only_problem(found: Review | Verdict) -> str:
    assert len(found.problems) == 1, found.problems
    return found.problems[0]


def test_pins_of_staging_are_allowed() -> None:
    found = judge(proposed(release(3)))
    assert (found.problems, found.origin) == ([], "staging/iris")
    assert {change.pin for change in found.changes} >= {"chart", "image.digest", "model.version", "metrics.accuracy"}


def test_a_first_release_must_be_that_of_staging() -> None:
    assert judge(proposed(release(3), before=None, earlier=[])).problems == []
    assert "neither" in only_problem(judge(proposed(release(4), before=None, earlier=[])))


def test_earlier_pins_of_production_are_allowed() -> None:
    found = judge(proposed(release(1, hold="back to what answered")))
    assert (found.problems, found.origin) == ([], f"production/iris at {1:040x}"[: len("production/iris at ") + 7])


def test_a_hold_may_be_added_and_removed() -> None:
    assert judge(proposed(release(2, hold="release freeze"))).problems == []
    assert judge(proposed(release(2), before=release(2, hold="release freeze"))).problems == []


@given(part=st.sampled_from(["chart", "image", "model"]), digest=DIGITS)
def test_no_single_pin_may_differ(part: str, digest: str) -> None:
    strange: dict[str, dict[str, Any]] = {
        "chart": {"release": {"chart": "9.9.9"}},
        "image": {"image": {"digest": f"sha256:{digest}"}},
        "model": {"model": {"version": "99", "uri": "s3://mlflow/99/model"}},
    }
    assert "neither" in only_problem(judge(proposed(release(3, **strange[part]))))


def test_a_mix_of_two_releases_is_refused() -> None:
    mixed = msgspec.structs.replace(release(3), model=release(2).model)
    assert "neither" in only_problem(judge(proposed(mixed)))


@pytest.mark.parametrize("number", [2, 3])
def test_metrics_must_be_those_of_the_pins(number: int) -> None:
    found = judge(proposed(release(number, release={"metrics": {"accuracy": 1.0}})))
    assert found.origin == {2: "unchanged", 3: "staging/iris"}[number]
    beside = f"The metrics of production/iris differ from those next to these pins in {found.origin}."
    assert only_problem(found) == beside


def test_pins_may_not_be_deleted_alone() -> None:
    assert "is deleted" in only_problem(judge(proposed(None)))


@pytest.mark.parametrize("hold", ["slow since noon", None], ids=["hold stays", "hold goes in the same breath"])
def test_a_held_production_may_not_change(hold: str | None) -> None:
    found = judge(proposed(release(3, hold=hold), before=release(2, hold="slow since noon")))
    assert "gitops unhold production/iris" in only_problem(found)


def test_a_held_production_can_be_rolled_back_further() -> None:
    back = release(1, hold="slow since yesterday, it turns out")
    assert judge(proposed(back, before=release(2, hold="slow since noon"))).problems == []


def test_pins_of_a_held_staging_are_refused() -> None:
    held = release(3, hold="under observation")
    assert "staging/iris is held" in only_problem(judge(proposed(release(3), feeding=held)))
    # Production may still be rolled back.
    assert judge(proposed(release(1, hold="slow"), feeding=held)).problems == []


def shadowed(number: int, base: Release | None = None, sample: float = 0.1) -> Release:
    """Return release 2, or another one, with version `number` as its shadow."""
    pins = msgspec.to_builtins(release(number).model)
    del pins["name"]
    return msgspec.convert({**msgspec.to_builtins(base or release(2)), "shadow": {**pins, "sample": sample}}, Release)


def test_a_shadow_must_have_answered_in_staging() -> None:
    fed_by = [step(3), step(4)]
    assert judge(proposed(shadowed(3))).problems == []
    assert judge(proposed(shadowed(4), fed_by=fed_by)).problems == []
    assert "never answered in staging/iris" in only_problem(judge(proposed(shadowed(9), fed_by=fed_by)))
    # A version that is only a shadow in staging is not proven, and the digest must match too.
    assert "ever answered" in only_problem(judge(proposed(shadowed(9), feeding=shadowed(9, release(3)))))
    fields = msgspec.to_builtins(shadowed(3))
    fields["shadow"]["digest"] = f"sha256:{9:064x}"
    assert "ever answered" in only_problem(judge(proposed(msgspec.convert(fields, Release))))
    assert "nothing to compare" in judge(proposed(shadowed(2))).problems[0]


def test_an_existing_shadow_may_change_its_share_stay_or_be_removed() -> None:
    assert judge(proposed(shadowed(9), before=shadowed(9))).problems == []
    assert judge(proposed(shadowed(9, sample=0.5), before=shadowed(9))).problems == []
    assert judge(proposed(release(2), before=shadowed(9))).problems == []
    assert judge(proposed(release(3), before=shadowed(3))).problems == []
    assert judge(proposed(release(1, hold="slow"), before=shadowed(9))).problems == []


@pytest.mark.parametrize("base", [release(3), release(2, hold="a freeze")], ids=["pins", "a hold"])
def test_a_new_shadow_must_be_the_only_change(base: Release) -> None:
    fed_by = [step(4)]
    assert "must change nothing else" in only_problem(judge(proposed(shadowed(4, base), fed_by=fed_by)))
    assert "must change nothing else" in only_problem(
        judge(proposed(shadowed(4, base, sample=0.5), before=shadowed(4), fed_by=fed_by))
    )


def test_a_hold_of_either_side_refuses_a_shadow() -> None:
    held = release(2, hold="a freeze")
    assert "gitops unhold production/iris" in only_problem(judge(proposed(shadowed(3, held), before=held)))
    assert "staging/iris is held" in only_problem(judge(proposed(shadowed(3), feeding=release(3, hold="slow"))))


def test_a_pinned_extra_model_is_allowed() -> None:
    text = "extraModels: [{name: roses, version: '1', digest: sha256:ab, uri: s3://a/b}]"
    assert problems_of_tuning(TUNING, text) == problems_of_tuning(TUNING, "") == []
