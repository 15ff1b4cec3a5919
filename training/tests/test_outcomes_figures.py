"""The figures of joined rows: metrics equal to scikit-learn's, intervals, slices, and the estimate."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest  # type: ignore[import-untyped]
from sklearn import metrics as sk

from modelformat.logged import Line
from tests.support.prediction_logs import line, write_log
from training.outcomes.figures import SMALL, measured, realised
from training.outcomes.intervals import bootstrapped, wilson
from training.outcomes.join import Joined, joined
from training.outcomes.known import Bound, Known
from training.outcomes.report import Asked, Report, report_of, versions_of

RANDOM = np.random.default_rng(5)
ASKED = Asked("iris", "staging", "log", ("truth",))


def join(tmp_path: Path, lines: list[Line], truths: list[Any]) -> Joined:
    """Join lines with their truths; None if a truth is not known."""
    tmp_path.mkdir(exist_ok=True)
    log = write_log(tmp_path / "log", lines)
    table = pd.DataFrame(
        [(each.request_id, each.row, truth) for each, truth in zip(lines, truths, strict=True) if truth is not None],
        columns=["request_id", "row", "truth"],
    )
    table.to_parquet(tmp_path / "truth.parquet")
    return joined(str(log), [str(tmp_path / "truth.parquet")])


def report(found: Joined, known: Known | None = None, slices: tuple[str, ...] = ()) -> Report:
    return report_of(ASKED, found, dict.fromkeys(versions_of(found), known or Known()), slices)


@pytest.mark.parametrize(("hits", "rows"), [(0, 1), (1, 1), (7, 9), (50, 100), (999, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, rows: int) -> None:
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("rows", [200, 20_000])
def test_the_bootstrap_finds_the_spread_of_a_mean(rows: int) -> None:
    values = RANDOM.normal(3, 2, rows)
    low, high = bootstrapped(np.column_stack([np.ones(rows), values]), lambda sums: sums[:, 1] / sums[:, 0]) or (0, 0)
    half = 1.96 * values.std() / np.sqrt(rows)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 4)


def frame(prediction: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"prediction": prediction.tolist(), "truth": truth.tolist()})


def test_many_labels_in_the_truth_take_little_memory() -> None:
    """A table of all pairs of labels would grow with the square of their number."""
    truth = np.array([f"made up {at}" for at in range(300)])
    tracemalloc.start()
    try:
        found = measured(frame(np.repeat("a", 300), truth))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["f1_macro"].value == 0
    assert most < 100 << 20


def test_metrics_of_labels_are_scikit_learns() -> None:
    truth = RANDOM.choice(["a", "b", "c"], 400, p=[0.7, 0.2, 0.1])
    said = np.where(RANDOM.random(400) < 0.8, truth, "a")
    found = measured(frame(said, truth))
    assert found["accuracy"].value == sk.accuracy_score(truth, said)
    assert found["f1_macro"].value == pytest.approx(sk.f1_score(truth, said, average="macro"))
    for figure in found.values():
        assert figure.lower is not None
        assert figure.upper is not None
        assert figure.lower < figure.value < figure.upper
        assert figure.upper - figure.lower < 0.2


def test_metrics_of_values_are_scikit_learns() -> None:
    truth = RANDOM.normal(1e6, 3, 500)
    said = truth + RANDOM.normal(0, 1, 500)
    found = measured(frame(said, truth))
    assert found["rmse"].value == pytest.approx(sk.root_mean_squared_error(truth, said))
    assert found["mae"].value == pytest.approx(sk.mean_absolute_error(truth, said))
    assert found["r2"].value == pytest.approx(sk.r2_score(truth, said))
    assert all(each.lower and each.upper and each.lower < each.value < each.upper for each in found.values())
    assert "r2" not in measured(frame(said, np.full(500, 1e6)))


def test_only_randomly_sampled_rows_are_measured(tmp_path: Path) -> None:
    lines = [line(f"s{at}", "a") for at in range(40)] + [line(f"c{at}", "a", reason="confidence") for at in range(9)]
    found = join(tmp_path, lines, ["a"] * 40 + ["b"] * 9)
    [version] = report(found).versions
    assert version.realised is not None
    assert (version.realised.rows, version.realised.left_out, version.answered) == (40, 9, 40)
    assert version.realised.metrics["accuracy"].value == 1.0
    assert version.realised.new_labels == ()


def test_slices_are_measured_and_small_ones_are_marked(tmp_path: Path) -> None:
    islands = ["Dream"] * 60 + ["Biscoe"] * 40 + [None] * (SMALL - 1)
    lines = [
        line(str(at), "a", features={"island": island, "name": f"n{at}", "length": 1.0})
        for at, island in enumerate(islands)
    ]
    truths = ["a"] * 50 + ["b"] * 10 + ["a"] * (30 + SMALL - 1) + ["b"] * 10
    [version] = report(join(tmp_path, lines, truths), Known(slices=("island", "name", "gone"))).versions
    assert version.realised is not None
    slices = {(each.column, each.value): each for each in version.realised.slices}
    assert {column for column, _ in slices} == {"island"}
    assert slices["island", "Dream"].metrics["accuracy"].value == pytest.approx(50 / 60)
    missing = slices["island", "(missing)"]
    assert (missing.rows, missing.small, missing.metrics) == (SMALL - 1, True, {})
    assert version.realised.new_labels == ("b",)


def test_versions_and_days_are_separate_and_the_interval_is_compared_with_the_gate(tmp_path: Path) -> None:
    days = ("2026-11-18", "2026-11-19")
    lines = [line(f"{day} {at}", "a", time=f"{day}T10:00:00Z") for day in days for at in range(50)]
    lines += [line(f"new {at}", "a", version="8", release=None, digest="sha256:2") for at in range(20)]
    truths: list[Any] = ["a"] * 50 + ["a"] * 20 + ["b"] * 30 + [None] * 20
    gate = {"accuracy": Bound("at least", 0.9), "f1_macro": Bound("at least", 0.0), "mae": Bound("at most", 0.0)}
    found = report(join(tmp_path, lines, truths), Known(gate=gate))
    new, old = found.versions
    assert (new.title, new.current, new.realised, new.below_gate) == ("iris-classifier version 8", True, None, ())
    assert new.estimated is not None
    assert not old.current
    assert old.realised is not None
    assert {day.day: day.metrics["accuracy"].value for day in old.realised.days} == {days[0]: 1.0, days[1]: 0.4}
    assert old.below_gate == ("accuracy",)
    assert (found.first_day, found.last_day) == (days[0], "2026-11-20")


def days_of_confidence(count: int, rows: int, right: float, said: float) -> tuple[list[Line], list[str]]:
    """Return rows of some days: a share `right` of them is right, and their confidence is `said`."""
    lines, truths = [], []
    for day in range(count):
        for at in range(rows):
            sure = min(1.0, max(0.0, RANDOM.normal(said, 0.05)))
            lines.append(line(f"{day} {at}", "a", time=f"2026-11-{day + 1:02}T10:00:00Z", probability=sure))
            truths.append("a" if RANDOM.random() < right else "b")
    return lines, truths


def test_the_estimate_needs_no_truth(tmp_path: Path) -> None:
    lines, _ = days_of_confidence(1, 500, 0.8, 0.8)
    [version] = report(join(tmp_path, lines, ["a", *[None] * 499])).versions
    assert version.estimated is not None
    assert version.estimated.accuracy.value == pytest.approx(0.8, abs=0.01)
    assert version.estimated.rows == 500
    assert not version.estimated.calibrated


def test_the_truth_of_earlier_days_calibrates_the_estimate(tmp_path: Path) -> None:
    """The confidences of this model are too high."""
    lines, truths = days_of_confidence(3, 400, 0.7, 0.95)
    late = [truth if each.time < "2026-11-03" else None for each, truth in zip(lines, truths, strict=True)]
    [version] = report(join(tmp_path, lines, late)).versions
    assert version.estimated is not None
    first, second, third = version.estimated.days
    assert (first.calibrated, second.calibrated, third.calibrated) == (False, True, True)
    assert first.accuracy.value == pytest.approx(0.95, abs=0.02)
    assert third.accuracy.value == pytest.approx(0.7, abs=0.05)
    assert third.accuracy.lower is not None
    assert third.accuracy.lower < third.accuracy.value


def test_a_regression_has_no_estimate_and_nothing_joined_has_no_figures(tmp_path: Path) -> None:
    found = join(tmp_path, [line("one", 1.5, probability=None)], [2.5])
    [version] = report(found).versions
    assert version.estimated is None
    assert version.realised is not None
    assert version.realised.metrics["mae"].value == 1.0
    log = write_log(tmp_path / "none", [line("one", 1.5)])
    assert realised(joined(str(log), []), {}) == {}
