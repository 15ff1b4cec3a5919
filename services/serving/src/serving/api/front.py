"""The path of every request: find its route, check access, answer it or explain the error, count and log it."""

import logging
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.events import BaseEventEmitterBackend
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Scope, Send

from serving.api.access import Access
from serving.api.body import ClientGoneError
from serving.api.cors import Cors
from serving.api.draining import Draining
from serving.api.identity import Identities
from serving.api.problems import RefusedError, nothing_here
from serving.api.routes import Answer, Call, Route, Routes, litestar_path
from serving.metrics import Metrics

logger = logging.getLogger("serving.access")

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ANSWER = 499
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_CLOSE = (b"connection", b"close")
_GZIP = zlib.MAX_WBITS | 16
_TAKES_GZIP = re.compile(rb"(?:^|,)\s*(?:x-)?gzip\s*(?:,|$|;(?!\s*q=0(?:\.0*)?\s*(?:,|$)))")


class Options(msgspec.Struct, frozen=True):
    """The settings of `Front`: access, CORS, logging and compression.

    `metrics_port` is the port of internal routes, 0 for the same port. `path_prefix` may stand before every path.
    Answers of `gzip_bytes` or more are compressed for callers that accept it, 0 for none. `on_asked` is called for each
    request that is about to be answered, with its id and the owner of its key.
    """

    access: Access | None = None
    on_asked: Callable[[bytes, str], None] | None = None
    cors: Cors | None = None
    metrics_port: int = 0
    path_prefix: str = ""
    gzip_bytes: int = 0
    access_log: bool = False


class Front:
    """The ASGI application.

    Args:
        table: All routes.
        unmatched: The route for paths without one, by the beginning of the path.
        lifespan: The context in which all requests run.
        metrics: Counts every answer.
        draining: Whether callers are asked to close their connections.
        options: The settings.
    """

    def __init__(
        self,
        table: Iterable[Route],
        unmatched: Mapping[str, Route],
        lifespan: Lifespan,
        metrics: Metrics,
        draining: Draining,
        options: Options,
    ) -> None:
        self._litestar = Litestar(
            [self._handler(route) for route in table],
            event_emitter_backend=NoEvents,
            lifespan=[lifespan],
            logging_config=None,
            openapi_config=None,
        )
        self.routes = Routes(self._litestar, unmatched, options.path_prefix)
        self._elsewhere = unmatched["/"]
        self._unmatched = tuple(unmatched.values())
        self._metrics = metrics
        self._draining = draining
        self._access = options.access
        self._on_asked = options.on_asked
        self._cors = options.cors
        self._metrics_port = options.metrics_port
        self._gzip_bytes = options.gzip_bytes or float("inf")
        self._access_log = options.access_log
        self._identities = Identities()

    def _handler(self, route: Route) -> ASGIRouteHandler:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await self.serve(route, scope["path_params"], scope, receive, send)

        return asgi(litestar_path(route), opt={"route": route}, copy_scope=False)(handle)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or another ASGI event.

        Requests bypass Litestar's layers, which take longer than a prediction.
        """
        if scope["type"] != ScopeType.HTTP:
            await self._litestar(scope, receive, send)
            return
        route, parameters = self.routes.match(scope["path"])
        if self._metrics_port and not self._belongs(route, scope):
            route = self._elsewhere
        await self.serve(route, parameters, scope, receive, send)

    def _belongs(self, route: Route, scope: HTTPScope) -> bool:
        """Return whether a route is available on the port of the request."""
        server = scope.get("server")
        if server is not None and server[1] == self._metrics_port:
            return route.internal or route.probe
        return not route.internal

    async def serve(
        self, route: Route, parameters: Mapping[str, str], scope: Any, receive: Receive, send: Send
    ) -> None:
        """Answer one request by its route."""
        start = time.perf_counter()
        headers = dict(scope["headers"])
        identity = self._identities.of(headers.get(b"x-request-id"))
        status = NO_ANSWER
        self._metrics.in_flight += 1
        try:
            call = Call(scope, receive, headers, identity, parameters)
            try:
                answer = await self._answer(route, call)
            except ClientGoneError:
                return
            except Exception as error:  # noqa: BLE001  (the route reports it in its own form)
                answer = route.error(error, identity)
            status = answer.status
            await send({"type": "http.response.start", "status": status, "headers": self._head(answer, call)})
            await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        finally:
            self._metrics.in_flight -= 1
            self._note(route, scope, status, time.perf_counter() - start, identity)

    async def _answer(self, route: Route, call: Call) -> Answer:
        method = call.scope["method"]
        if method != route.method and (method != "HEAD" or route.method != "GET"):
            return self._other_method(route, call)
        owner = ""
        if self._access is not None and not route.probe:
            owner = self._access.check(call.headers)
        if self._on_asked is not None:
            self._on_asked(call.identity, owner)
        answer = await route.handler(call)
        if len(answer.body) >= self._gzip_bytes and _TAKES_GZIP.search(call.headers.get(b"accept-encoding", b"")):
            return _compressed(answer)
        return answer

    def _other_method(self, route: Route, call: Call) -> Answer:
        """Answer a request with another method: 405, or for OPTIONS the allowed methods and the CORS headers."""
        if route in self._unmatched:
            raise nothing_here()
        allowed = "GET, HEAD, OPTIONS" if route.method == "GET" else "POST, OPTIONS"
        if call.scope["method"] != "OPTIONS":
            raise RefusedError(405, f"This resource allows only {allowed}.", {"allow": allowed})
        more = self._cors.preflight(route.method) if self._cors else ()
        return Answer(b"", status=204, headers=((b"allow", allowed.encode()), *more))

    def _head(self, answer: Answer, call: Call) -> list[tuple[bytes, bytes]]:
        head = [
            (b"content-type", answer.media_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
            (b"x-request-id", call.identity),
            _NO_SNIFFING,
        ]
        if not answer.body:
            del head[: 2 if answer.status == 204 else 1]
        if self._cors is not None:
            head += self._cors.headers(call.headers.get(b"origin", b""))
        if self._draining.active:
            head.append(_CLOSE)
        return head

    def _note(self, route: Route, scope: Any, status: int, seconds: float, identity: bytes) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.answered(route.path, method, str(status), seconds)
        # Probes fail every few seconds while there is no model. The reason has been logged once already.
        if self._access_log or (status >= 400 and not route.probe):
            logger.info(
                "request",
                extra={
                    "method": method,
                    "path": scope["path"],
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "request_id": identity.decode(),
                },
            )


def _compressed(answer: Answer) -> Answer:
    deflator = zlib.compressobj(1, wbits=_GZIP)
    body = deflator.compress(answer.body) + deflator.flush()
    headers = (*answer.headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
    return msgspec.structs.replace(answer, body=body, headers=headers)


class NoEvents(BaseEventEmitterBackend):
    """A placeholder for Litestar's events, which are not used here. Litestar's own would need a task and 1 MB."""

    def emit(self, event_id: str, *args: Any, **kwargs: Any) -> None:
        """Ignore the event."""

    async def __aexit__(self, *error: object) -> None:
        """Do nothing."""
