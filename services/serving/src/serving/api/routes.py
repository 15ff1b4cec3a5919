"""The one table of routes: handlers, access, behaviour under overload, and what the OpenAPI document says.

Dispatch, refusals under overload, access, metrics' labels, traces and the OpenAPI document all come from it (`table`).
Paths are matched by Litestar's router.
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
# No path of ours is longer, whatever a model is called; a longer one is not worth remembering.
_MAX_PATH = 1024

Parameters: TypeAlias = Mapping[str, str]
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, frozen=True):
    """What goes back to the caller."""

    body: bytes
    media_type: bytes = JSON
    status: int = 200
    headers: Headers = ()


class Call(msgspec.Struct, frozen=True, eq=False):
    """A request: what ASGI says of it, its headers (of those given twice the last), its id, its path's parameters."""

    scope: HTTPScope
    receive: Receive
    headers: Mapping[bytes, bytes]
    identity: bytes
    parameters: Parameters


Handler: TypeAlias = Callable[[Call], Awaitable[Answer]]
# Turns an error into the answer that tells of it; the bytes are the request's id.
ErrorStyle: TypeAlias = Callable[[Exception, bytes], Answer]


class Operation(msgspec.Struct, frozen=True):
    """What the OpenAPI document says about a route, in addition to the handler's docstring.

    `answer` is the struct of the answer (several: any of them), or its media type; `body` the struct of the request's
    body; `errors` are the statuses of its errors.
    """

    tag: str
    summary: str
    answer: type[msgspec.Struct] | tuple[type[msgspec.Struct], ...] | str
    body: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = (500,)


class Route(msgspec.Struct, frozen=True, eq=False):
    """One path and who answers it.

    Attributes:
        path: The path, with `{name}` for each part that is a parameter; also what metrics and traces call it.
        method: The method; a route for GET also answers HEAD.
        handler: Answers a call.
        error: Tells of errors.
        probe: Whether it is for machines that look after the process: these carry no keys, are answered in any crowd,
            and leave neither traces nor lines in the log.
        internal: Whether it is answered on METRICS_PORT only, where there is one.
        sheddable: Whether it is refused unread when enough others wait.
        operation: What the document says; None leaves it out.
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
        app: The application that has the table's routes as handlers, each with its route under `route` in its `opt`.
        unmatched: What answers where there is no route, by the beginning of the path: the longest that fits.
        prefix: What a proxy may leave before every path.
    """

    def __init__(self, app: Litestar, unmatched: Mapping[str, Route], prefix: str = "") -> None:
        self._find = app.asgi_router.handle_routing
        self._prefix = prefix
        self._unmatched = unmatched
        self._match = lru_cache(1024)(self._matched)

    def match(self, path: str) -> tuple[Route, Parameters]:
        """Gives the route for a decoded path, and the path's parameters."""
        return self._match(path) if len(path) <= _MAX_PATH else (self._unmatched["/"], {})

    def _matched(self, path: str) -> tuple[Route, Parameters]:
        path = normalize_path(path)
        if has_prefix(path, self._prefix):
            path = path.removeprefix(self._prefix) or "/"
        try:
            # Without a method: the table has one for each path, and says so itself where another is used.
            _, handler, _, parameters, _ = self._find(path, None)
        except HTTPException:
            first = max((first for first in self._unmatched if path.startswith(first)), key=len)
            return self._unmatched[first], {}
        route: Route = handler.opt["route"]
        return route, parameters


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a path is the prefix, or lies below it."""
    return path == prefix or path.startswith(f"{prefix}/")


def litestar_path(route: Route) -> str:
    """Gives a route's path as Litestar writes it."""
    return re.sub(r"\{(\w+)\}", r"{\1:str}", route.path)
