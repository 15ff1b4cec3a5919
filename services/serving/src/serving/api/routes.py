"""Which handler answers a request, and whether the caller may ask it."""

from collections.abc import Mapping

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from serving.api.access import Access
from serving.api.openinference import send_error
from serving.api.problems import RefusedError, send_problem

# Probes and scrapes carry no keys.
OPEN = ("/health", "/metrics", "/v2/health")
UNMATCHED = "unmatched"


class Routes:
    """Finds handlers by path.

    Args:
        app: Answers what nothing else does, so that requests that match no route are answered too.
        shortcuts: Handlers of `app` by path. Requests for exactly these paths go straight to them: the way through
            Litestar's layers costs more than a prediction does.
        below: Applications of their own, by the first part of their paths.
        access: Checks API keys, if any are needed.
    """

    def __init__(
        self,
        app: ASGIApp,
        shortcuts: Mapping[str, ASGIApp],
        below: Mapping[str, ASGIApp],
        access: Access | None,
    ) -> None:
        self.app = app
        self._shortcuts = shortcuts
        self._below = below
        self._access = access

    def find(self, path: str, headers: Mapping[bytes, bytes]) -> ASGIApp:
        """Gives the handler for a path, or for a caller who may not ask it, one that tells so."""
        handler = self._shortcuts.get(path) or self._below.get(_first(path), self.app)
        if self._access is None or path.startswith(OPEN):
            return handler
        try:
            self._access.check(headers)
        except RefusedError as error:
            return self._refusing(path, error)
        return handler

    def name(self, scope: HTTPScope) -> str:
        """Names the route that answered, one of a bounded number."""
        path = scope["path"]
        return path if path in self._shortcuts else scope.get("path_template") or UNMATCHED

    def _refusing(self, path: str, error: RefusedError) -> ASGIApp:
        answer = send_error if _first(path) in self._below else send_problem

        async def refuse(scope: Scope, _: Receive, send: Send) -> None:
            await answer(scope, send, error)

        return refuse


def _first(path: str) -> str:
    return path[1:].partition("/")[0]
