"""Saves the pictures of docs/benchmarks: the same figures give the same bytes, in small files."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

OWN, OTHERS = "#1a7f5a", "#8a94a6"


def save(figure: Figure, file: Path) -> None:
    """Write a figure as SVG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text, which keeps the files small. A fixed salt keeps matplotlib's identifiers the same.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench"}):
        figure.savefig(file, metadata={"Date": None, "Creator": None}, transparent=False)
    # Some lines end in spaces, which an editor or a hook would remove.
    file.write_text("".join(line.rstrip() + "\n" for line in file.read_text().splitlines()))
