"""Which other origins' pages may call the API from a browser (CORS)."""

from serving.api.routes import Headers
from serving.environment import SettingsError

_ASKED = b"authorization, content-encoding, content-type, inference-header-content-length, x-api-key, x-request-id"
_EXPOSED = b"inference-header-content-length, retry-after, x-model-version, x-request-id"
_REMEMBERED_SECONDS = b"600"


class Cors:
    """Lets pages of some origins read answers. No cookies are involved: callers are known by their keys alone."""

    def __init__(self, origins: frozenset[bytes]) -> None:
        self._origins = origins

    def headers(self, origin: bytes) -> Headers:
        """Gives what an answer to a page of `origin` carries; empty where the request came from no page."""
        if b"*" in self._origins:
            return (b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)
        # Answers differ by the origin, so whoever keeps one must know.
        if origin not in self._origins:
            return ((b"vary", b"origin"),)
        return (
            (b"vary", b"origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
        )

    def preflight(self, method: str) -> Headers:
        """Gives what else the answer to a browser's question carries."""
        return (
            (b"access-control-allow-methods", method.encode()),
            (b"access-control-allow-headers", _ASKED),
            (b"access-control-max-age", _REMEMBERED_SECONDS),
        )


def open_cors(setting: str) -> Cors | None:
    """Reads CORS_ORIGINS: origins between commas, or `*` for any; None where it is empty.

    Raises:
        SettingsError: when one of them is not an origin.
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
