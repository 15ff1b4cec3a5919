"""The confidences of a version, day by day: counts of all randomly sampled rows, joined or not."""

import numpy as np
from msgspec import Struct

from modelformat.logged import SAMPLE, Line

# Confidences are counted in this many equal bins, so the mean is exact to half a thousandth.
BINS = 1000
# More pairs of version and day than a month's log has. Beyond it, times or versions in the log are wrong.
_MOST_KEYS = 100_000


class Version(Struct, frozen=True, order=True):
    """The version that answered."""

    model: str
    version: str
    release: str | None
    digest: str

    @property
    def title(self) -> str:
        """The version's name for people."""
        return self.release or f"version {self.version}"


class Day(Struct, eq=False):
    """Randomly sampled rows of one version on one day: their number, and the number in each bin of confidence."""

    rows: int = 0
    confidences: np.ndarray | None = None

    def add(self, probability: float | None) -> None:
        """Count a row."""
        self.rows += 1
        if probability is not None:
            if self.confidences is None:
                self.confidences = np.zeros(BINS, dtype=np.int64)
            self.confidences[bin_of(probability)] += 1


class Seen:
    """Days by version, and when each version answered last."""

    def __init__(self) -> None:
        self.days: dict[tuple[Version, str], Day] = {}
        self.latest: dict[Version, str] = {}
        self._versions: dict[tuple[str, str, str | None, str], Version] = {}

    def add(self, line: Line) -> None:
        """Count a line if it was sampled at random."""
        if line.reason != SAMPLE:
            return
        version = self.version_of(line)
        key = (version, line.time[:10])
        day = self.days.get(key)
        if day is None and len(self.days) < _MOST_KEYS:
            day = self.days[key] = Day()
        if day is not None:
            day.add(line.probability)
            self.latest[version] = max(self.latest.get(version, ""), line.time)

    def version_of(self, line: Line) -> Version:
        """Return the version that answered a line."""
        key = (line.model, line.version, line.release, line.digest)
        found = self._versions.get(key)
        if found is None:
            found = self._versions[key] = Version(*key)
        return found


def bin_of(probability: float) -> int:
    """Return the bin of a confidence."""
    return min(max(int(probability * BINS), 0), BINS - 1)


def bins_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the bins of many confidences; shape [rows]."""
    found: np.ndarray = (probabilities * BINS).astype(np.int64).clip(0, BINS - 1)
    return found


def centres() -> np.ndarray:
    """Return the middle of each bin, shape [BINS]."""
    middles: np.ndarray = (np.arange(BINS) + 0.5) / BINS
    return middles
