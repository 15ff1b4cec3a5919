"""What connections share: bounds on how many there are, and on how many requests wait for an answer."""

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

# How many connections beyond the bound may wait to say what they want: probes say it at once.
_SPARE_CONNECTIONS = 64
# All connections are looked through for those that do nothing at most this often, since there may be thousands.
_LOOK_SECONDS = 0.25


class Gate:
    """Decides who is let in when there are more requests or connections than can be served."""

    def __init__(self, admission: Admission, routes: Routes, metrics: Metrics, max_connections: int) -> None:
        self.admission = admission
        self.max_connections = max_connections
        self._routes = routes
        self._spare: dict[Leaving, None] = {}
        self._idle: deque[Leaving] = deque()
        self._next_look = 0.0
        self._metrics = metrics
        self._refusals: dict[Route, bytes] = {}

    def make_room(self, connections: "Iterable[Any]", now: float) -> bool:
        """Hangs up on a connection that does nothing, for one that asks for something; tells whether there was one.

        Those that never asked for anything go first, and of these the one that waited longest.

        Args:
            connections: All that are open.
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
        """Takes a connection beyond the bound. Where too many of these wait, the one that waited longest goes."""
        self._spare[connection] = None
        if len(self._spare) > _SPARE_CONNECTIONS:
            next(iter(self._spare)).crowded_out()

    def forget(self, connection: "Leaving") -> None:
        """Forgets a connection that has sent a request, or is closed."""
        self._spare.pop(connection, None)

    def route(self, url: bytes) -> Route | None:
        """Gives the route that a request's URL leads to; None where it is not a URL."""
        try:
            path = httptools.parse_url(url).path
        except httptools.HttpParserInvalidURLError:
            return None
        return self._routes.match(unquote(path.decode("latin-1")))[0] if path else None

    def refusal(self, method: bytes, url: bytes) -> bytes | None:
        """Gives the answer for a request that is one too many; None for one that is welcome."""
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
