"""Bounds that all connections share: on their number, and on the number of requests that wait for an answer."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from serving.admission import Admission
from serving.api.routes import Answer, Route, Routes
from serving.errors import OverloadedError
from serving.metrics import Metrics

if TYPE_CHECKING:
    from serving.api.leaving import Leaving

# The most connections beyond the bound that may wait before they send a request. Probes send theirs at once.
_SPARE_CONNECTIONS = 64
# The shortest time between two searches for idle connections among all, since there may be thousands.
_LOOK_SECONDS = 0.25


class Gate:
    """Decides which requests and connections to accept when there are too many."""

    def __init__(self, admission: Admission, routes: Routes, metrics: Metrics, max_connections: int) -> None:
        self.admission = admission
        self.max_connections = max_connections
        self._routes = routes
        self._spare: dict[Leaving, None] = {}
        self._idle: deque[Leaving] = deque()
        self._next_look = 0.0
        self._metrics = metrics
        self._refusals: dict[Route, bytes] = {}

    @property
    def spares(self) -> int:
        """How many connections beyond the bound wait."""
        return len(self._spare)

    def make_room(self, connections: "Iterable[Any]", now: float) -> bool:
        """Close an idle connection in favour of one that has sent a request. Return whether there was one.

        Connections that never sent a request go first, and among these the one that has waited longest.

        Args:
            connections: All open connections.
            now: The loop's time in seconds.
        """
        if not self._idle and now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            found = [(each.asked, since, each) for each in connections if (since := each.idle_since(now)) is not None]
            self._idle.extend(each for *_, each in sorted(found, key=lambda one: one[:2]))
        while self._idle:
            each = self._idle.popleft()
            if each.idle_since(now) is not None:
                each.dismiss()
                return True
        return False

    def spare(self, connection: "Leaving") -> None:
        """Add a connection beyond the bound. If too many of these wait, close the one that has waited longest."""
        self._spare[connection] = None
        if len(self._spare) > _SPARE_CONNECTIONS:
            next(iter(self._spare)).crowded_out()

    def forget(self, connection: "Leaving") -> None:
        """Remove a connection that has sent a request, or is closed."""
        self._spare.pop(connection, None)

    def route(self, url: bytes) -> Route | None:
        """Return the route of a request's URL, or None if the URL is not valid."""
        try:
            path = httptools.parse_url(url).path
        except httptools.HttpParserInvalidURLError:
            return None
        return self._routes.match(unquote(path.decode("latin-1")))[0] if path else None

    def refusal(self, method: bytes, url: bytes) -> bytes | None:
        """Return the refusal of a request if there are too many, or None if the request is accepted."""
        if method != b"POST" or not self.admission.full:
            return None
        route = self.route(url)
        if route is None or not route.sheddable:
            return None
        self._metrics.shed(route.path)
        answer = self._refusals.get(route)
        if answer is None:
            answer = self._refusals[route] = _written(route.error(OverloadedError(), b""))
        return answer


def _written(answer: Answer) -> bytes:
    head = ((b"content-type", answer.media_type), (b"content-length", b"%d" % len(answer.body)), *answer.headers)
    lines = b"".join(b"%s: %s\r\n" % field for field in head)
    return b"HTTP/1.1 503 Service Unavailable\r\n%s\r\n%s" % (lines, answer.body)
