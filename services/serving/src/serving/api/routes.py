"""The table of routes: handlers, access, behaviour under overload, and descriptions for the OpenAPI document.

Dispatch, refusals under overload, access, labels of metrics, traces and the OpenAPI document all use it (`table`).
Litestar's router matches the paths.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Receive
from litestar.utils import normalize_path

JSON = b"application/json"
# No path of this API is longer, whatever the name of a model. Longer ones do not go into the cache.
_MAX_PATH = 1024

Parameters: TypeAlias = Mapping[str, str]
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, frozen=True):
    """A response."""

    body: bytes
    media_type: bytes = JSON
    status: int = 200
    headers: Headers = ()


class Call(msgspec.Struct, frozen=True, eq=False):
    """A request: its ASGI scope, headers (the last one of each name), id, and the parameters of its path."""

    scope: HTTPScope
    receive: Receive
    headers: Mapping[bytes, bytes]
    identity: bytes
    parameters: Parameters


Handler: TypeAlias = Callable[[Call], Awaitable[Answer]]
# Turns an error into a response. The bytes are the request's id.
ErrorStyle: TypeAlias = Callable[[Exception, bytes], Answer]


class Operation(msgspec.Struct, frozen=True):
    """What the OpenAPI document says about a route, in addition to the handler's docstring.

    `answer` is the struct of the answer (several: any of them), or its media type. `body` is the struct of the
    request's body. `errors` are the statuses of its errors.
    """

    tag: str
    summary: str
    answer: type[msgspec.Struct] | tuple[type[msgspec.Struct], ...] | str
    body: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = (500,)


class Route(msgspec.Struct, frozen=True, eq=False):
    """A path and its handler.

    Attributes:
        path: The path, with `{name}` for each parameter. Metrics and traces use it as the name of the route.
        method: The method. A route for GET also answers HEAD.
        handler: Answers a request.
        error: Turns an error into a response.
        probe: Whether monitoring systems use it. Such routes need no key, are answered under any load, and leave
            neither traces nor log lines.
        internal: Whether it is only available on METRICS_PORT, if that is set.
        sheddable: Whether it is refused unread when too many requests wait.
        operation: Its entry in the OpenAPI document. None leaves it out.
    """

    path: str
    method: Literal["GET", "POST"]
    handler: Handler
    error: ErrorStyle
    probe: bool = False
    internal: bool = False
    sheddable: bool = False
    operation: Operation | None = None


class Routes:
    """Finds routes by path.

    Args:
        app: The application that has a handler for each route, with the route under `route` in its `opt`.
        unmatched: The routes for all other paths, by the beginning of the path. The longest that fits is used.
        prefix: What a proxy may leave before every path.
    """

    def __init__(self, app: Litestar, unmatched: Mapping[str, Route], prefix: str = "") -> None:
        self._find = app.asgi_router.handle_routing
        self._prefix = prefix
        self._unmatched = unmatched
        self._match = lru_cache(1024)(self._matched)

    def match(self, path: str) -> tuple[Route, Parameters]:
        """Return the route of a decoded path, and the parameters in the path."""
        return self._match(path) if len(path) <= _MAX_PATH else (self._unmatched["/"], {})

    def _matched(self, path: str) -> tuple[Route, Parameters]:
        path = normalize_path(path)
        if has_prefix(path, self._prefix):
            path = path.removeprefix(self._prefix) or "/"
        try:
            # Without a method: the table has one method for each path, and refuses others itself.
            _, handler, _, parameters, _ = self._find(path, None)
        except HTTPException:
            first = max((first for first in self._unmatched if path.startswith(first)), key=len)
            return self._unmatched[first], {}
        route: Route = handler.opt["route"]
        return route, parameters


def has_prefix(path: str, prefix: str) -> bool:
    """Return whether a path is the prefix, or below it."""
    return path == prefix or path.startswith(f"{prefix}/")


def litestar_path(route: Route) -> str:
    """Return the path of a route in Litestar's notation."""
    return re.sub(r"\{(\w+)\}", r"{\1:str}", route.path)
