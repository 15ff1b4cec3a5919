"""Flowers that callers ask about, first like those in training, then from a dry summer; and their species."""

import csv
import secrets
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import numpy as np

# In a dry summer, sepals are a fifth longer and petals a fifth shorter; in the order of the columns.
_DRY = np.array([1.2, 1.2, 0.8, 0.8])
_SPREAD = 0.05
_AT_ONCE = 25
_SECONDS = 20.0


class Flowers(msgspec.Struct, frozen=True, eq=False):
    """Measured flowers, shape [rows, 4] in cm, and their species, shape [rows]."""

    rows: np.ndarray
    species: np.ndarray


class Answered(msgspec.Struct, frozen=True):
    """A request of several rows: its id, the answers and their confidences, the truth, and the version."""

    request_id: str
    answers: list[str]
    confidences: list[float]
    truth: list[str]
    version: str

    @property
    def right(self) -> float:
        """The share of right answers."""
        return sum(answer == true for answer, true in zip(self.answers, self.truth, strict=True)) / len(self.truth)

    @property
    def sure(self) -> float:
        """The mean confidence."""
        return sum(self.confidences) / len(self.confidences)


class _Answer(msgspec.Struct, frozen=True):
    prediction: str
    probability: float


class _Answers(msgspec.Struct, frozen=True):
    predictions: list[_Answer]
    model_version: str


class Meadow:
    """A source of flowers: random ones of the iris table, with small random changes."""

    def __init__(self, rows: np.ndarray, species: np.ndarray, seed: int = 7) -> None:
        """Keep measured flowers, and a seed."""
        self._rows, self._species = rows, species
        self._random = np.random.default_rng(seed)

    def flowers(self, count: int, *, dry: bool) -> Flowers:
        """Return a number of flowers of a usual or a dry summer."""
        chosen = self._random.integers(0, len(self._rows), count)
        rows = self._rows[chosen] + self._random.normal(0, _SPREAD, (count, self._rows.shape[1]))
        return Flowers(np.round(rows * _DRY if dry else rows, 2).clip(0.01), self._species[chosen])


def ask(url: str, flowers: Flowers) -> list[Answered]:
    """Send flowers to an API, several in each request, and return the answers.

    Raises:
        httpx.HTTPError: a prediction failed.
    """
    found = []
    with httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False) as client:
        for first in range(0, len(flowers.rows), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            request_id = f"meadow-{secrets.token_hex(6)}"
            body = {"instances": flowers.rows[part].tolist()}
            answer = client.post("/predict", json=body, headers={"x-request-id": request_id})
            answer.raise_for_status()
            said = msgspec.json.decode(answer.content, type=_Answers)
            truth = [str(kind) for kind in flowers.species[part]]
            answers = [each.prediction for each in said.predictions]
            sure = [each.probability for each in said.predictions]
            found.append(Answered(request_id, answers, sure, truth, said.model_version))
    return found


def tell(file: Path, requests: Sequence[Answered]) -> None:
    """Append the truth of requests to a file."""
    new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as out:
        lines = csv.writer(out)
        if new:
            lines.writerow(["request_id", "row", "truth"])
        lines.writerows((each.request_id, row, true) for each in requests for row, true in enumerate(each.truth))
