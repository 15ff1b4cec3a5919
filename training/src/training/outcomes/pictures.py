"""Charts of a report: realised, estimated and held-out metrics by day, and each slice."""

from collections.abc import Iterator, Sequence
from itertools import islice

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from training.outcomes.figures import Figure, Slice
from training.outcomes.report import Report, VersionReport

# More of them would make a picture unreadable.
_MOST_VERSIONS = 5
_MOST_SLICES = 40


def pictures(report: Report) -> dict[str, Picture]:
    """Return the pictures by file name."""
    metrics = dict.fromkeys(
        name for version in report.versions if version.realised for name in version.realised.metrics
    )
    drawn = {}
    for metric in metrics or ["accuracy"]:
        picture = _by_day(report, metric)
        if picture is not None:
            drawn[f"plots/{metric}_by_day.png"] = picture
    current = report.current
    if current is not None and current.realised is not None:
        slices = [found for found in current.realised.slices if not found.small]
        for metric in metrics:
            found = [each for each in slices if metric in each.metrics][:_MOST_SLICES]
            if found:
                drawn[f"plots/{metric}_by_slice.png"] = _by_slice(current, metric, found)
    return drawn


def _by_day(report: Report, metric: str) -> Picture | None:
    picture = Picture(figsize=(9, 5), layout="constrained")
    axes = picture.subplots()
    drawn = 0
    for number, version in enumerate(islice(report.versions, _MOST_VERSIONS)):
        colour = f"C{number}"
        drawn += _points(axes, _realised_days(version, metric), colour, f"{version.title}: realised", "-")
        if metric == "accuracy" and version.estimated is not None:
            days = ((day.day, day.accuracy) for day in version.estimated.days)
            drawn += _points(axes, days, colour, f"{version.title}: estimated", ":")
        if metric in version.held_out:
            axes.axhline(version.held_out[metric], color=colour, linewidth=0.8, label=f"{version.title}: held out")
        if version.current and metric in version.gate:
            bound = version.gate[metric]
            axes.axhline(bound.value, color="red", linestyle="--", label=f"gate: {bound.relation} {bound.value:g}")
    if not drawn:
        return None
    axes.set(title=f"{report.service} in {report.environment}: {metric}", xlabel="day (UTC)", ylabel=metric)
    axes.tick_params(axis="x", rotation=45)
    axes.legend(fontsize="small")
    return picture


def _realised_days(version: VersionReport, metric: str) -> Iterator[tuple[str, Figure]]:
    for day in version.realised.days if version.realised else ():
        if metric in day.metrics:
            yield day.day, day.metrics[metric]


def _points(axes: Axes, days: Iterator[tuple[str, Figure]], colour: str, label: str, line: str) -> int:
    found = sorted(days)
    if found:
        values = [figure.value for _, figure in found]
        axes.errorbar(
            [day for day, _ in found], values, yerr=_reach([figure for _, figure in found]), color=colour, label=label,
            linestyle=line, marker="o", markersize=4, capsize=3,
        )  # fmt: skip
    return len(found)


def _by_slice(version: VersionReport, metric: str, slices: Sequence[Slice]) -> Picture:
    picture = Picture(figsize=(8, 1.5 + 0.3 * len(slices)), layout="constrained")
    axes = picture.subplots()
    figures = [found.metrics[metric] for found in slices]
    names = [f"{found.column} = {found.value} ({found.rows})".replace("$", r"\$") for found in slices]
    places = range(len(slices))
    axes.errorbar([figure.value for figure in figures], list(places), xerr=_reach(figures), fmt="o", capsize=3)
    axes.set_yticks(list(places), names)
    axes.set(title=f"{version.title}: {metric} by slice (rows)", xlabel=metric)
    return picture


def _reach(figures: Sequence[Figure]) -> list[list[float]]:
    """Return how far intervals extend below and above their values, as matplotlib takes it."""
    return [
        [max(0.0, each.value - (each.value if each.lower is None else each.lower)) for each in figures],
        [max(0.0, (each.value if each.upper is None else each.upper) - each.value) for each in figures],
    ]
