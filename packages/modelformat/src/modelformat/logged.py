"""A line of the prediction log, as serving writes it and training reads it (docs/closed-loop.md)."""

from msgspec import Struct

from modelformat.mlmodel import Label

# Why a line was written whose request was taken by chance: only of these are shares and means right.
SAMPLE = "sample"
# How the log's files are named.
SUFFIX = ".jsonl.gz"

Value = bool | int | float | str | None


class Line(Struct, frozen=True):
    """One row of one request, and what was answered.

    `row` is its place in the request, `time` is ISO 8601 in UTC, and `reason` says why it was written: `sample` by
    chance, `confidence` and `unknown` because of the row itself, `shadow` because a second version disagrees.
    """

    time: str
    request_id: str
    row: int
    model: str
    version: str
    release: str | None
    digest: str
    caller: str | None
    reason: str
    prediction: Label | float
    probability: float | None
    features: dict[str, Value]
