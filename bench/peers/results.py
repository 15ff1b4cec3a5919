"""The measurements of a run, in the form of .cache/peers, from which docs/benchmarks is made."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.measure import Sample
from bench.peers.environments import CACHE

FILE, MIXED_FILE, CALLS_FILE = (CACHE / name for name in ("results.json", "results-mixed.json", "results-grpc.json"))


class SubjectRun(msgspec.Struct):
    """One server with one model over all rounds."""

    key: str
    name: str
    version: str = ""
    megabytes: float = 0.0
    """The size of its environment on disk."""
    ready_seconds: float = 0.0
    memory_mb: list[float] = msgspec.field(default_factory=list)
    samples: dict[str, list[Sample | None]] = msgspec.field(default_factory=dict)
    """By load, one for each round. None if the load failed, or the server answered less than 95% of the rate."""
    failures: dict[str, str] = msgspec.field(default_factory=dict)
    """By load, the last reason of a failure. Under the empty name, the reason why the server was not measured."""

    def held(self, load: str) -> list[Sample]:
        """Return the samples of a load from the rounds that have one, or none if those are not most of the rounds."""
        rounds = self.samples.get(load, [])
        found = [sample for sample in rounds if sample is not None]
        return found if 2 * len(found) > len(rounds) else []

    def per_core(self, load: str) -> float | None:
        """Return the median over the rounds of requests/s per core."""
        found = self.held(load)
        return median([sample.per_core for sample in found]) if found else None

    def p99_ms(self, load: str) -> float | None:
        """Return the median over the rounds of the 99th percentile of latency, in milliseconds."""
        found = self.held(load)
        return median([sample.measured.p99_ms for sample in found]) if found else None

    def memory(self) -> float | None:
        """Return the median over the rounds of the resident megabytes."""
        return median(self.memory_mb) if self.memory_mb else None


class ModelRun(msgspec.Struct, frozen=True):
    """All servers with one model."""

    model: str
    subjects: list[SubjectRun]

    def subject(self, key: str) -> SubjectRun | None:
        """Return a server's run, or None if it was not measured."""
        return next((run for run in self.subjects if run.key == key), None)


class Run(msgspec.Struct, frozen=True):
    """One run of the benchmark."""

    date: str
    machine: str
    rounds: int
    seconds: float
    rates: list[int]
    models: list[ModelRun]


def ratios(mine: SubjectRun, theirs: SubjectRun, load: str) -> Sequence[float]:
    """Return the ratios of `mine` to `theirs` in requests/s per core, for each round in which both have answered."""
    pairs = zip(mine.samples.get(load, []), theirs.samples.get(load, []), strict=False)
    return [own.per_core / other.per_core for own, other in pairs if own is not None and other is not None]


def save(run: Run, file: Path) -> None:
    """Write the run to `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(run)))


def load(file: Path) -> Run:
    """Read a run.

    Raises:
        OSError: the file cannot be read.
        msgspec.ValidationError: it has other content.
    """
    return msgspec.json.decode(file.read_bytes(), type=Run)
