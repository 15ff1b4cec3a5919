"""Ids of requests, for answers, logs and traces."""

import itertools
import re
import secrets

_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Identities:
    """Gives each request an id."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = itertools.count(1)

    def of(self, given: bytes | None) -> bytes:
        """Return the caller's id (`X-Request-ID`) if it is harmless, or a new id."""
        if given is not None and _SANE.fullmatch(given):
            return given
        return b"%s-%x" % (self._prefix, next(self._numbers))
