"""CORS: which pages of other origins may call the API from a browser."""

from serving.api.routes import Headers
from serving.environment import SettingsError

_ASKED = b"authorization, content-encoding, content-type, inference-header-content-length, x-api-key, x-request-id"
_EXPOSED = b"inference-header-content-length, retry-after, x-model-version, x-request-id"
_REMEMBERED_SECONDS = b"600"


class Cors:
    """Allows pages of some origins to read answers. Callers are known only by their API keys: there are no cookies."""

    def __init__(self, origins: frozenset[bytes]) -> None:
        self._origins = origins

    def headers(self, origin: bytes) -> Headers:
        """Return the headers of an answer to a page of `origin`, which is empty if no page sent the request."""
        if b"*" in self._origins:
            return (b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)
        # Answers depend on the origin, so caches must know.
        if origin not in self._origins:
            return ((b"vary", b"origin"),)
        return (
            (b"vary", b"origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
        )

    def preflight(self, method: str) -> Headers:
        """Return the other headers of the answer to a preflight request."""
        return (
            (b"access-control-allow-methods", method.encode()),
            (b"access-control-allow-headers", _ASKED),
            (b"access-control-max-age", _REMEMBERED_SECONDS),
        )


def open_cors(setting: str) -> Cors | None:
    """Parse CORS_ORIGINS: origins separated by commas, or `*` for any. None if it is empty.

    Raises:
        SettingsError: if one of them is not an origin.
    """
    origins = [origin.strip() for origin in setting.split(",") if origin.strip()]
    for origin in origins:
        scheme, _, host = origin.partition("://")
        if origin != "*" and (scheme not in ("http", "https") or not host or "/" in host or not origin.isascii()):
            raise SettingsError(
                f"CORS_ORIGINS names {origin!r}, but takes "
                "origins without a path, such as https://app.example.com, or *"
            )
    return Cors(frozenset(origin.encode() for origin in origins)) if origins else None
