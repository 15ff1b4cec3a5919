"""Formats measurements as the tables of docs/benchmarks."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.fortio import Measured
from bench.measure import Sample


class Round(msgspec.Struct, frozen=True):
    """One target's figures in one round."""

    ready_seconds: float
    memory_mb: float
    saturated: Sample
    fixed: dict[int, Measured | None]
    """By the rate sent in requests/s; None if the target answered less than 95% of it."""


class Subject(msgspec.Struct, frozen=True):
    """One target over all rounds."""

    name: str
    rounds: list[Round]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median, and the lowest and highest value in brackets."""
    middle, low, high = median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are aligned to the left, and the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def _latency(measured: Sequence[Measured | None]) -> str:
    held = [m for m in measured if m is not None]
    if len(held) < len(measured):
        return "cannot hold it"
    return f"{median([m.p50_ms for m in held]):.2f} / {median([m.p99_ms for m in held]):.2f}"


def throughput_table(subjects: Sequence[Subject]) -> str:
    """Return the Markdown table of figures, one line for each target: medians, some with minimum and maximum."""
    rates = sorted(subjects[0].rounds[0].fixed)
    heads = ["", "requests/s per core", "p50 / p99 ms, saturated"]
    heads += [f"p50 / p99 ms at {rate:,}/s" for rate in rates] + ["resident MB", "ready after s"]
    lines = [
        [
            subject.name,
            spread([r.saturated.per_core for r in subject.rounds]),
            _latency([r.saturated.measured for r in subject.rounds]),
            *[_latency([r.fixed[rate] for r in subject.rounds]) for rate in rates],
            f"{median([r.memory_mb for r in subject.rounds]):.0f}",
            f"{median([r.ready_seconds for r in subject.rounds]):.1f}",
        ]
        for subject in subjects
    ]
    return table(heads, lines)


def ratio_table(subject: Subject, others: Sequence[Subject]) -> str:
    """Return the Markdown table of the ratios of `subject` to each other in requests/s per core, round by round."""
    lines = []
    for other in others:
        pairs = zip(subject.rounds, other.rounds, strict=True)
        ratios = [mine.saturated.per_core / theirs.saturated.per_core for mine, theirs in pairs]
        lines.append([other.name, spread(ratios, 2)])
    return table(["requests/s per core, against", "ratio: median (lowest to highest round)"], lines)


def machine() -> str:
    """Return one sentence about the machine and the measured versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("uvicorn", "litestar", "msgspec", "onnxruntime", "scikit-learn", "mlflow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}, {versions}."
