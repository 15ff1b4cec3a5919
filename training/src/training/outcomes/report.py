"""The result of joining a log with its truth: one report for people, programs, MLflow and Prometheus."""

from collections import Counter

from msgspec import Struct

from training.outcomes.estimate import Estimated, estimated
from training.outcomes.figures import SMALL, Figure, Realised, by_version, realised
from training.outcomes.join import Joined
from training.outcomes.known import Bound, Known
from training.outcomes.seen import Version


class VersionReport(Struct, frozen=True, omit_defaults=False):
    """One version: its realised metrics, their estimates, and its metrics on held-out rows.

    `current` is the one that answered last. `below_gate` names metrics whose whole interval is on the wrong side of the
    gate's bound.
    """

    model: str
    version: str
    release: str | None
    digest: str
    current: bool
    answered: int
    realised: Realised | None
    estimated: Estimated | None
    held_out: dict[str, float]
    gate: dict[str, Bound]
    below_gate: tuple[str, ...]

    @property
    def title(self) -> str:
        """The version's name for people."""
        return f"{self.model} {self.release or f'version {self.version}'}"


class Report(Struct, frozen=True, omit_defaults=False):
    """The whole report; `refused` counts by reason, and includes `double`, whose rows are joined."""

    service: str
    environment: str
    log: str
    truth: tuple[str, ...]
    first_day: str | None
    last_day: str | None
    logged: int
    truths: int
    joined: int
    repeated: int
    refused: dict[str, int]
    versions: tuple[VersionReport, ...]

    @property
    def current(self) -> VersionReport | None:
        """The version that answered last."""
        return next((version for version in self.versions if version.current), None)


class Asked(Struct, frozen=True):
    """The subject of a report."""

    service: str
    environment: str
    log: str
    truth: tuple[str, ...]


def report_of(asked: Asked, joined: Joined, known: dict[Version, Known], slices: tuple[str, ...] = ()) -> Report:
    """Put a report together.

    Args:
        asked: The service, and where its data is.
        joined: The joined rows.
        known: What the registry knows of the versions.
        slices: The columns for slices; by default those that the registry knows to be categories.
    """
    versions = versions_of(joined)
    columns = {version: slices or known.get(version, Known()).slices for version in versions}
    worth, guessed = realised(joined, columns), estimated(joined)
    answered: Counter[Version] = Counter()
    for (version, _), day in joined.seen.days.items():
        answered[version] += day.rows
    found = []
    for at, version in enumerate(versions):
        about = known.get(version, Known())
        real = worth.get(version)
        found.append(
            VersionReport(
                model=version.model,
                version=version.version,
                release=version.release,
                digest=version.digest,
                current=at == 0,
                answered=answered[version],
                realised=real,
                estimated=guessed.get(version),
                held_out=about.held_out,
                gate=about.gate,
                below_gate=_below(real, about.gate),
            )
        )
    days = sorted({day for _, day in joined.seen.days})
    return Report(
        asked.service, asked.environment, asked.log, asked.truth, days[0] if days else None,
        days[-1] if days else None, joined.logged, joined.truths, len(joined.answers), joined.repeated,
        {str(reason): count for reason, count in joined.refusals.counts.items()}, tuple(found),
    )  # fmt: skip


def versions_of(joined: Joined) -> list[Version]:
    """Return all versions that answered, the latest one first."""
    latest = dict(joined.seen.latest)
    for version, rows in by_version(joined.answers):
        latest.setdefault(version, rows["time"].max().isoformat())
    return sorted(latest, key=lambda version: latest[version], reverse=True)


def _below(real: Realised | None, gate: dict[str, Bound]) -> tuple[str, ...]:
    if real is None or real.rows < SMALL:
        return ()
    return tuple(name for name, bound in gate.items() if name in real.metrics and _misses(real.metrics[name], bound))


def _misses(figure: Figure, bound: Bound) -> bool:
    """Return whether even the better end of the interval misses the bound."""
    if bound.relation == "at least":
        return (figure.value if figure.upper is None else figure.upper) < bound.value
    return (figure.value if figure.lower is None else figure.lower) > bound.value
