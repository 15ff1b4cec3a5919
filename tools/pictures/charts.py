"""Panels of a dashboard, drawn without Grafana."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from msgspec import Struct

_COLOURS = ("#3274d9", "#56a64b", "#e0752d", "#a352cc")
_COLUMNS = 2


class Line(Struct, frozen=True):
    """A series of a panel: its place in the legend, times in seconds of Unix time, and values."""

    name: str
    moments: Sequence[float]
    values: Sequence[float]


class Panel(Struct, frozen=True):
    """A panel: title and unit from the dashboard, and the results of its queries."""

    title: str
    unit: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write panels, two in a row, as an SVG."""
    settings: Mapping[str, object] = {"svg.fonttype": "none", "svg.hashsalt": "pictures", "font.size": 9}
    with mpl.rc_context(dict(settings)):  # type: ignore[arg-type]  # its names are literals
        rows = -(-len(panels) // _COLUMNS)
        figure = Figure(figsize=(10, 2.5 * rows), layout="constrained", facecolor="white")
        for number, panel in enumerate(panels, start=1):
            _draw(figure.add_subplot(rows, _COLUMNS, number), panel)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: Axes, panel: Panel) -> None:
    for line, colour in zip(panel.lines, _COLOURS * len(panel.lines), strict=False):
        axes.plot(np.array(line.moments).astype("int64").astype("datetime64[s]"), line.values, label=line.name,
                  color=colour, linewidth=1.3)  # fmt: skip
    axes.set_title(panel.title, loc="left", fontweight="bold", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color="#e3e3e3", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S", tz=UTC))  # type: ignore[no-untyped-call]  # it has no types
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif panel.unit == "s":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 1000:g} ms"))
    elif panel.unit in ("reqps", "rowsps"):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}/s"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)
