"""The lines of the prediction log, as serving writes and training reads them (docs/prediction-log.md)."""

from msgspec import Struct

from modelformat.mlmodel import Label

# The reason of lines whose request was sampled at random. Only for these are shares and means unbiased.
SAMPLE = "sample"
# The reason of lines that say what was true; they have no answer.
FEEDBACK = "feedback"
# The suffixes of the log's files, and of its files with feedback.
SUFFIX = ".jsonl.gz"
FEEDBACK_SUFFIX = f".feedback{SUFFIX}"

Value = bool | int | float | str | None


class Line(Struct, frozen=True):
    """One row of a request, and its answer.

    `row` is its position in the request, `time` is ISO 8601 in UTC, and `reason` is why it was logged: `sample` at
    random, `confidence` and `unknown` because of the row itself, `shadow` because a second version disagrees.
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
    """Feedback of a caller: what was true for one row of a request.

    `row` is null if the caller did not name one, `time` is when the feedback arrived, `caller` the name of the API key,
    and `reason` always `feedback`.
    """

    time: str
    request_id: str
    row: int | None
    caller: str | None
    truth: Label | float
    reason: str = FEEDBACK
