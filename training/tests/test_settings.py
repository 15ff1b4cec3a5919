"""Proves that options of the form key=value are read with the right types."""

import pytest

from training.due.options import DueOptions
from training.errors import BadInputError
from training.settings import assignments


def test_assignments_read_numbers_and_words() -> None:
    pairs = ["C=0.5", "max_iter=10", "class_weight=balanced", "warm_start=true", "max_depth=null", "x=a=b"]
    assert assignments("param", pairs) == {
        "C": 0.5,
        "max_iter": 10,
        "class_weight": "balanced",
        "warm_start": True,
        "max_depth": None,
        "x": "a=b",
    }


def test_labels_of_alerts_are_texts_whatever_they_look_like() -> None:
    given = ["page=true", "tier=1e3", "team=null", "namespace=ml"]
    assert DueOptions(alert_label=given).labels() == {"page": "true", "tier": "1e3", "team": "null", "namespace": "ml"}


@pytest.mark.parametrize(("pairs", "says"), [(["C"], "not of the form"), (["=1"], "not of"), (["C=1", "C=2"], "twice")])
def test_wrong_assignments_are_refused(pairs: list[str], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        assignments("param", pairs)
