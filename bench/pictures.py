"""Saving the pictures of docs/benchmarks: the same bytes for the same figures, and as small as they can be."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

OWN, OTHERS = "#1a7f5a", "#8a94a6"


def save(figure: Figure, file: Path) -> None:
    """Write a figure as SVG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text, so that the files are small; a fixed salt keeps matplotlib's identifiers the same.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        figure.savefig(file, metadata={"Date": None, "Creator": None}, transparent=False)
    # Some lines end in blanks, which an editor or a hook would take away.
    file.write_text("".join(line.rstrip() + "\n" for line in file.read_text().splitlines()))
