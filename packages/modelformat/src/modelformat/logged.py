"""A line of the prediction log, as serving writes it and training reads it (docs/closed-loop.md)."""

from msgspec import Struct

from modelformat.mlmodel import Label

# Why a line was written whose request was taken by chance: only of these are shares and means right.
SAMPLE = "sample"
# Why a line was written that says what was true, and what was answered is not in.
FEEDBACK = "feedback"
# How the log's files are named, and those of them with feedback alone.
SUFFIX = ".jsonl.gz"
FEEDBACK_SUFFIX = f".feedback{SUFFIX}"

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


class Told(Struct, frozen=True, omit_defaults=False):
    """What a caller told later: what was true of one row of one request.

    `row` is null where the caller did not say which, `time` is when it was told, `caller` the name of the API key, and
    `reason` always `feedback`.
    """

    time: str
    request_id: str
    row: int | None
    caller: str | None
    truth: Label | float
    reason: str = FEEDBACK
