"""Small functions that many commands use: whether two releases run the same, and names in a sentence."""

import msgspec
import pytest

from gitops.pins.history import same_pins
from gitops.pins.release import Hold
from gitops.platform.targets import listed
from services.gitops.tests.promotion_setup import release


def test_a_hold_does_not_change_what_runs_and_another_model_does() -> None:
    held = msgspec.structs.replace(
        release(1), release=msgspec.structs.replace(release(1).release, hold=Hold(reason="slow"))
    )
    assert same_pins(release(1), held)
    assert not same_pins(release(1), release(2))


def test_a_release_is_never_the_same_as_none() -> None:
    assert same_pins(None, None)
    assert not same_pins(None, release(1))
    assert not same_pins(release(1), None)


@pytest.mark.parametrize(
    ("names", "sentence"), [([], "none"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names: list[str], sentence: str) -> None:
    assert listed(names) == sentence
