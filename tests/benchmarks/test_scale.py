"""Checks the document's text about a run on a cluster: rates by pods, costs, the autoscaler, and the curve."""

from pathlib import Path

import pytest

from bench import scale
from bench.scale import POD_CORES, Moment, Point, Scale, section


def test_the_section_has_rates_costs_and_the_autoscaler() -> None:
    one = Point(1, [900.0, 1000.0, 1100.0], [99.0, 101.0, 100.0], 4.25)
    five = Point(5, [4000.0, 4000.0, 4000.0], [90.0, 90.0, 90.0], 3.0)
    text = section(Scale([one, five], [Moment(0.0, 2, 1234.0, 97.4)]), 0.06)
    # A thousand predictions per second on 0.15 cores: a million take 150 s of CPU time.
    cost = 1e6 / (1000 / POD_CORES) / 3600 * 0.06
    assert f"| 1 | 1,000 (900 to 1,100) | 1.00 | 100 | 4.2 | ${cost:.4f} |" in text
    assert "| 5 | 4,000 (4,000 to 4,000) | 4.00 | 90 | 3.0 |" in text
    assert "| 0 | 2 | 1,234 | 97 |" in text


def test_the_picture_is_the_same_for_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point(pods, [800.0 * pods], [90.0], 4.0) for pods in range(1, 6)]
    moments = [Moment(10.0 * index, 2 + index, 1000.0, 90.0) for index in range(4)]
    pictures = []
    for name in ("first.svg", "second.svg"):
        monkeypatch.setattr(scale, "PICTURE", tmp_path / name)
        scale.draw(Scale(points, moments))
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    assert "requests/s by pods" in pictures[0]
