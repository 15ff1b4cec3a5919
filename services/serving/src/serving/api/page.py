"""GET /docs: a page that shows the OpenAPI document and needs no other server. And the document itself."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec

from serving.api.routes import Answer, Call, has_prefix

# The form that Traefik's StripPrefix and others send. A prefix that begins with // would lead to another server.
_PREFIX = re.compile(rb"(?:/[A-Za-z0-9._~-]+)+/?")
_DOCUMENT_TYPE = b"application/vnd.oai.openapi+json"


class Docs:
    """Answers with the page, and with the document that `describe` makes for the models that are served now.

    `prefix` is what a proxy may leave before every path.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]], prefix: str = "") -> None:
        page = files("serving.api").joinpath("docs.html").read_bytes()
        self._page = Answer(page, b"text/html; charset=utf-8", headers=_page_headers(page))
        self._describe = describe
        self._prefix = prefix

    async def lead(self, call: Call) -> Answer:
        """Redirect a request for the root to the page."""
        # Without a known prefix the address is relative, because a proxy may have one that it does not name.
        before = self._before(call)
        location = f"{before}/docs" if before else "docs"
        return Answer(b"", status=307, headers=((b"location", location.encode()),))

    async def page(self, _: Call) -> Answer:
        """Return the page."""
        return self._page

    async def document(self, call: Call) -> Answer:
        """Return the document."""
        document = self._describe()
        if before := self._before(call):
            document["servers"] = [{"url": before}]
        return Answer(msgspec.json.encode(document), _DOCUMENT_TYPE)

    def _before(self, call: Call) -> str:
        """Return what callers write before every path: the prefix that a proxy removed, and the one that it left."""
        said = call.headers.get(b"x-forwarded-prefix", b"")
        taken = said.decode().rstrip("/") if _PREFIX.fullmatch(said) else ""
        return taken + (self._prefix if has_prefix(call.scope["path"], self._prefix) else "")


def _page_headers(page: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers that let browsers run only what the page contains, and keep other sites from framing it."""
    rules = {"default-src": "'none'", "connect-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"}
    for kind, part in re.findall(rb"<(script|style)>(.*?)</", page, re.DOTALL):
        rules[f"{kind.decode()}-src"] = f"'sha256-{b64encode(sha256(part).digest()).decode()}'"
    policy = "; ".join(f"{what} {allowed}" for what, allowed in rules.items())
    return (
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
    )
