"""What connections share: bounds on how many there are, and on how many requests wait for an answer."""

import re
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
import msgspec

from serving.admission import Admission
from serving.api.openinference import MODEL, Error
from serving.api.predict import PATH
from serving.api.problems import MEDIA_TYPE, describe
from serving.errors import OverloadedError
from serving.metrics import Metrics

if TYPE_CHECKING:
    from serving.api.connections import GuardedProtocol

# How many connections beyond the bound may wait to say what they want: probes say it at once.
_SPARE_CONNECTIONS = 64
# All connections are looked through for those that do nothing at most this often, since there may be thousands.
_LOOK_SECONDS = 0.25
_SLASHES = re.compile("//+")


class Gate:
    """Decides who is let in when there are more requests or connections than can be served."""

    def __init__(self, admission: Admission, metrics: Metrics, max_connections: int) -> None:
        self.admission = admission
        self.max_connections = max_connections
        self._spare: dict[GuardedProtocol, None] = {}
        self._idle: deque[GuardedProtocol] = deque()
        self._next_look = 0.0
        self._metrics = metrics
        problem, headers = describe(OverloadedError(), "")
        error = Error(problem.detail)
        self._refusals = (
            (PATH, PATH, _answer(MEDIA_TYPE, msgspec.json.encode(problem), headers)),
            ("/v2/models/", f"{MODEL}/infer", _answer("application/json", msgspec.json.encode(error), headers)),
        )

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

    def spare(self, connection: "GuardedProtocol") -> None:
        """Takes a connection beyond the bound. Where too many of these wait, the one that waited longest goes."""
        self._spare[connection] = None
        if len(self._spare) > _SPARE_CONNECTIONS:
            next(iter(self._spare)).crowded_out()

    def forget(self, connection: "GuardedProtocol") -> None:
        """Lets go of one that has said what it wants, or is gone."""
        self._spare.pop(connection, None)

    def refusal(self, method: bytes, url: bytes) -> bytes | None:
        """Gives the answer for a request that is one too many; None for one that is welcome."""
        if not self.admission.full or method != b"POST":
            return None
        path = _SLASHES.sub("/", unquote(httptools.parse_url(url).path.decode("latin-1")))
        for prefix, route, answer in self._refusals:
            if path.startswith(prefix):
                self._metrics.shed(route)
                return answer
        return None


def _answer(media_type: str, body: bytes, headers: dict[str, str]) -> bytes:
    head = {"content-type": media_type, "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{lines}\r\n".encode() + body
