"""GET /docs: a page that shows the OpenAPI document and needs no other server; and the document itself."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec

from serving.api.routes import Answer, Call

_DOCUMENT_TYPE = b"application/vnd.oai.openapi+json"


class Docs:
    """Answers with the page, and with the document that `describe` makes for the models that are served now."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        page = files("serving.api").joinpath("docs.html").read_bytes()
        self._page = Answer(page, b"text/html; charset=utf-8", headers=_page_headers(page))
        self._describe = describe

    async def page(self, _: Call) -> Answer:
        """Gives the page."""
        return self._page

    async def document(self, _: Call) -> Answer:
        """Gives the document."""
        return Answer(msgspec.json.encode(self._describe()), _DOCUMENT_TYPE)


def _page_headers(page: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Gives the headers that keep browsers from running anything in a page but what it holds, and from framing it."""
    rules = {"default-src": "'none'", "connect-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"}
    for kind, part in re.findall(rb"<(script|style)>(.*?)</", page, re.DOTALL):
        rules[f"{kind.decode()}-src"] = f"'sha256-{b64encode(sha256(part).digest()).decode()}'"
    policy = "; ".join(f"{what} {allowed}" for what, allowed in rules.items())
    return (
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
    )
