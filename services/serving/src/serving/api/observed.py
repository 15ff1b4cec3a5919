"""What every request gets, whatever its route: an id, a count, a duration, and a line in the log when it failed."""

import itertools
import logging
import re
import secrets
import time

from litestar.enums import ScopeType
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from serving.api.draining import Draining
from serving.api.gate import Gate
from serving.api.problems import request_id
from serving.api.routes import Routes
from serving.metrics import Metrics

logger = logging.getLogger("serving.access")

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ANSWER = 499
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class Observed:
    """Wraps the whole application, so that requests that match no route are seen too."""

    def __init__(self, routes: Routes, metrics: Metrics, draining: Draining, gate: Gate, *, access_log: bool) -> None:
        self._routes = routes
        self._metrics = metrics
        self.draining = draining
        self.gate = gate
        self._access_log = access_log
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._routes.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        identity = self._identity(headers)
        scope.setdefault("state", {}).update(request_id=identity, headers=headers)
        status = NO_ANSWER

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [*message["headers"], (b"x-request-id", identity), _NO_SNIFFING]
                if self.draining.active:
                    more.append((b"connection", b"close"))
                message["headers"] = more
            await send(message)

        self._metrics.in_flight += 1
        try:
            await self._routes.find(scope["path"], headers)(scope, receive, observed_send)
        finally:
            self._metrics.in_flight -= 1
            self._note(scope, status, time.perf_counter() - start)

    def _identity(self, headers: dict[bytes, bytes]) -> bytes:
        """Takes the caller's X-Request-ID if it is harmless, or makes one that no other request has."""
        given = headers.get(b"x-request-id")
        if given is not None and _SANE_ID.fullmatch(given):
            return given
        return b"%s-%x" % (self._prefix, next(self._numbers))

    def _note(self, scope: HTTPScope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = self._routes.name(scope)
        self._metrics.answered(route, method, str(status), seconds)
        # Probes fail every few seconds while there is no model; why that is so has been logged once, by name.
        if self._access_log or (status >= 400 and not route.startswith("/health")):
            logger.info(
                "request",
                extra={
                    "method": method,
                    "path": scope["path"],
                    "status": status,
                    "duration_ms": round(seconds * 1000, 3),
                    "request_id": request_id(scope),
                },
            )
