"""Put the measurements of `make bench-scale` on a cluster into docs/benchmarks: a curve, a table, and the cost."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import document
from bench.pictures import OTHERS, OWN, save
from bench.report import machine, spread, table

FIGURES = Path(".cache/e2e/scale.json")
PICTURE = Path("docs/benchmarks/scale.svg")
MOST_PODS = 5
POD_CORES = 0.15
"""The CPU time of each pod, in cores."""
CONNECTIONS_PER_POD = 16
"""In the curve. With a constant total, more pods would each have fewer rows to share a run, which bends the curve."""
CONNECTIONS = 48
"""While the autoscaler adds pods, from two to five: the most that two pods can take without a refusal."""


class Point(msgspec.Struct, frozen=True):
    """The throughput of a number of pods: requests/s at saturation in each round, and p99 in milliseconds."""

    pods: int
    rates: list[float]
    p99s_ms: list[float]
    p99_at_100_ms: float

    @property
    def rate(self) -> float:
        """The median of the rounds in requests/s."""
        return median(self.rates)


class Moment(msgspec.Struct, frozen=True):
    """The answers in the seconds from `at` on, with the number of pods that were ready at the start."""

    at: float
    pods: int
    rate: float
    p99_ms: float


class Scale(msgspec.Struct):
    """A run: the results by number of pods, and the autoscaler under a constant load."""

    points: list[Point] = []
    moments: list[Moment] = []

    def write(self, file: Path) -> None:
        """Write the figures to a file, for `main` to read."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def main() -> None:
    """Draw the picture and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--price", type=float, default=0.04, help="dollars per core and hour (default 0.04)")
    options = parser.parse_args()
    scale = msgspec.json.decode(FIGURES.read_bytes(), type=Scale)
    draw(scale)
    text = section(scale, options.price)
    sys.stdout.write(text)
    document.write("bench-scale", text)


def section(scale: Scale, price: float) -> str:
    """Return the section's text, for a price per core and hour."""
    one = scale.points[0].rate
    lines = [
        [
            str(point.pods),
            spread(point.rates),
            f"{point.rate / one:.2f}",
            f"{median(point.p99s_ms):.0f}",
            f"{point.p99_at_100_ms:.1f}",
            f"${_cost(point.rate / (point.pods * POD_CORES), price):.4f}",
        ]
        for point in scale.points
    ]
    heads = ["pods", "requests/s", "times one pod", "p99 ms, saturated", "p99 ms at 100/s", "a million predictions"]
    grown = [[f"{m.at:.0f}", str(m.pods), f"{m.rate:,.0f}", f"{m.p99_ms:.0f}"] for m in scale.moments]
    return f"""
Measured {datetime.now(UTC):%Y-%m-%d} with `make bench-scale`: {machine()}
Single rows of iris, logistic regression, through the Service, from a pod in the same cluster; each serving pod may use
{POD_CORES:g} cores. {CONNECTIONS_PER_POD} connections per pod send requests without a pause,
{len(scale.points[0].rates)} rounds; medians, in brackets the lowest and highest.

![Requests a second over the number of pods, and over time with the autoscaler](scale.svg)

{table(heads, lines)}

The autoscaler, from two pods on, while {CONNECTIONS} connections send requests without a pause; each line is
ten seconds:

{table(["after s", "pods", "requests/s", "p99 ms"], grown)}

"""


def _cost(rate_per_core: float, price: float) -> float:
    """Return the cost of a million predictions at a rate in requests/s per core, for a price per core and hour."""
    return 1e6 / rate_per_core / 3600 * price


def draw(scale: Scale) -> None:
    """Draw both curves."""
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(10, 2.8), layout="constrained")
        over_pods, over_time = figure.subplots(1, 2)
        _pods(over_pods, scale.points)
        _time(over_time, scale.moments)
        save(figure, PICTURE)


def _pods(axes: Axes, points: Sequence[Point]) -> None:
    numbers = [point.pods for point in points]
    axes.plot(numbers, [point.rate for point in points], marker="o", color=OWN)
    axes.plot(numbers, [point.pods * points[0].rate for point in points], linestyle=":", color=OTHERS)
    axes.set_title(f"requests/s by pods of {POD_CORES:g} cores (dotted: as many times one)", fontsize=9, loc="left")
    axes.set_xticks(numbers)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)


def _time(axes: Axes, moments: Sequence[Moment]) -> None:
    seconds = [moment.at for moment in moments]
    axes.plot(seconds, [moment.rate for moment in moments], color=OWN)
    axes.set_title("requests/s over seconds with the autoscaler, and pods (steps)", fontsize=9, loc="left")
    axes.set_ylim(bottom=0)
    pods = axes.twinx()
    pods.step(seconds, [moment.pods for moment in moments], where="post", color=OTHERS)
    pods.set_ylim(0, MOST_PODS + 0.5)
    for side in (axes, pods):
        side.spines[["top"]].set_visible(False)


if __name__ == "__main__":
    main()
