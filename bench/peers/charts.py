"""The charts of docs/benchmarks: one picture for each model. The same figures give the same bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.peers.loads import Plan
from bench.peers.results import ModelRun, SubjectRun
from bench.peers.subjects import OURS, OURS_WITHOUT_DRIFT
from bench.pictures import OTHERS, OWN, save

FOLDER = Path("docs/benchmarks")


class _Panel(msgspec.Struct, frozen=True):
    title: str
    value: Callable[[SubjectRun], float | None]
    text: str
    missing: str = "failed"


def draw(run: ModelRun, rate: int) -> Path:
    """Draw one model's throughput, latency at a fixed rate in requests/s, and memory.

    Returns:
        The SVG file.
    """
    panels = [
        _Panel("requests/s per core, 64 connections", lambda s: s.per_core(Plan("row", 64).key), "{:,.0f}"),
        _Panel(f"p99 at {rate:,} requests/s, ms", lambda s: s.p99_ms(f"row@{rate}/s"), "{:.2f}", "cannot hold it"),
        _Panel("resident MB", SubjectRun.memory, "{:.0f}"),
    ]
    shown = [subject for subject in run.subjects if subject.key != OURS_WITHOUT_DRIFT and "" not in subject.failures]
    file = FOLDER / f"{run.model}.svg"
    with mpl.rc_context({"font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(10, 0.6 + 0.28 * len(shown)), layout="constrained")
        for number, (axes, panel) in enumerate(zip(figure.subplots(1, len(panels)), panels, strict=True)):
            _bars(axes, panel, shown, named=number == 0)
        save(figure, file)
    return file


def _bars(axes: Axes, panel: _Panel, subjects: Sequence[SubjectRun], *, named: bool) -> None:
    values = [panel.value(subject) for subject in subjects]
    colours = [OWN if subject.key == OURS else OTHERS for subject in subjects]
    bars = axes.barh(range(len(subjects)), [value or 0 for value in values], color=colours, height=0.7)
    texts = [panel.missing if value is None else panel.text.format(value) for value in values]
    axes.bar_label(bars, texts, padding=3)
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_yticks(range(len(subjects)), [subject.name for subject in subjects] if named else [])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.margins(x=0.3)
