"""POST /feedback: what was true of rows that were answered before."""

import msgspec

from serving.api.body import BodyReader, parsed
from serving.api.handlers import answered
from serving.api.routes import Answer, Call
from serving.asked import ASKED
from serving.errors import OverloadedError, TooManyRowsError
from serving.log.sampling import PredictionLog
from serving.schemas import FeedbackRequest, FeedbackResponse

_decoder = msgspec.json.Decoder(FeedbackRequest)


class Feedback:
    """Puts truth into the prediction log."""

    def __init__(self, log: PredictionLog, bodies: BodyReader, max_rows: int) -> None:
        self._log = log
        self._bodies = bodies
        self._max_rows = max_rows

    async def take(self, call: Call) -> Answer:
        """Takes what was true of rows that were answered before, by the id of their request.

        It goes into the prediction log, where `training outcomes` joins it with the answers. Nothing looks here whether
        there is such a request, and the same row may be told again.
        """
        truths = parsed(await self._bodies.read(call), _decoder).feedback
        if len(truths) > self._max_rows:
            raise TooManyRowsError(f"At most {self._max_rows} rows may be told at once; {len(truths)} were.")
        asked = ASKED.get(None)
        if not self._log.told(truths, asked.owner if asked else ""):
            raise OverloadedError
        return answered(FeedbackResponse(len(truths)))
