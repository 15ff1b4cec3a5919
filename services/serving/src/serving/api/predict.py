"""POST /predict: the hot path, so it speaks ASGI itself, and most requests come here directly (see `Observed`)."""

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from serving.api.body import BodyReader, ClientGoneError, parse_request
from serving.api.problems import send_problem
from serving.predictor import Predictor

PATH = "/predict"
_encoder = msgspec.json.Encoder()


def predict_handler(predictor: Predictor, bodies: BodyReader) -> ASGIRouteHandler:
    """Makes the handler."""

    @asgi(PATH, copy_scope=False)
    async def predict(scope: HTTPScope, receive: Receive, send: Send) -> None:
        try:
            body = await bodies.read(scope, receive)
            answer = _encoder.encode(await predictor.predict(parse_request(body)))
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  (answered here: Litestar's handler of errors may not be around)
            await send_problem(scope, send, error)
            return
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    return predict
