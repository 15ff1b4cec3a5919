"""POST /feedback: the truth about rows that were answered before."""

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
    """Writes the truth into the prediction log."""

    def __init__(self, log: PredictionLog, bodies: BodyReader, max_rows: int) -> None:
        self._log = log
        self._bodies = bodies
        self._max_rows = max_rows

    async def take(self, call: Call) -> Answer:
        """Accept the truth about rows that were answered before, by the id of their request.

        The truth is written to the prediction log, and `training outcomes` joins it with the answers. The API does not
        check whether the request exists. The same truth may be sent again.
        """
        truths = parsed(await self._bodies.read(call), _decoder).feedback
        if len(truths) > self._max_rows:
            raise TooManyRowsError(f"A request may have at most {self._max_rows} truths; this one has {len(truths)}.")
        asked = ASKED.get(None)
        if not self._log.told(truths, asked.owner if asked else ""):
            raise OverloadedError
        return answered(FeedbackResponse(len(truths)))
