"""Access control: API keys, and a rate limit for each key."""

import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.api.problems import RefusedError
from serving.environment import SettingsError

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
# After a pause, requests for this many seconds may come at once.
_BURST_SECONDS = 2.0
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})[:=](?P<key>[\x21-\x7e]{16,256})")
_SCHEME = b"bearer "

Keys = tuple[tuple[bytes, str], ...]


def parse_keys(text: str, source: str) -> Keys:
    """Parse keys of the form `NAME:KEY`, one per line or separated by commas.

    Empty lines and entries do not count, nor do lines and entries that begin with #. No key of such a line is valid.

    Returns:
        The SHA-256 digest of each key, and the name of its owner.

    Raises:
        SettingsError: if an entry has another form. The message gives its position, but not its content.
    """
    found: dict[bytes, str] = {}
    lines = ["" if line.lstrip().startswith("#") else line for line in text.splitlines()]
    for number, entry in enumerate((entry.strip() for line in lines for entry in line.split(",")), 1):
        if not entry or entry.startswith("#"):
            continue
        match = _LINE.fullmatch(entry)
        if match is None:
            raise SettingsError(
                f"{source}: entry {number} is not of the form NAME:KEY, with a key of 16 to 256 visible characters"
            )
        found[hashlib.sha256(match["key"].encode()).digest()] = match["name"]
    return tuple(found.items())


class KeyFile:
    """API keys in a file, such as a mounted Secret. The file is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SettingsError: if it cannot be read, or has no keys.
        """
        self._path = path
        self._next_look = 0.0
        self._changed = 0
        try:
            self._changed = path.stat().st_mtime_ns
            self._keys = self._read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise SettingsError(f"API_KEYS_FILE is {str(path)!r}, which cannot be read ({reason})") from None
        if not self._keys:
            raise SettingsError(
                f"API_KEYS_FILE is {str(path)!r}, which holds no keys, so every request would be refused"
            )

    def __call__(self) -> Keys:
        """Return the current keys: none if the file has none. If the file cannot be read, the last keys stay valid."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            try:
                changed = self._path.stat().st_mtime_ns
                if changed != self._changed:
                    self._keys, self._changed = self._read(), changed
                    if self._keys:
                        logger.info("API keys read again", extra={"keys": len(self._keys)})
                    else:
                        logger.warning("API_KEYS_FILE no longer holds keys, so all requests are refused")
            except (OSError, UnicodeDecodeError, SettingsError) as error:
                logger.warning("API keys are not changed", extra={"reason": str(error)})
        return self._keys

    def _read(self) -> Keys:
        return parse_keys(self._path.read_text(encoding="utf-8"), "API_KEYS_FILE")


class Access:
    """Checks the API key of each request, and limits the rate of each key."""

    def __init__(
        self, keys: Callable[[], Keys], per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the check.

        Args:
            keys: Returns the current keys.
            per_second: Requests per second for each key, twice as many after a pause; 0 for no limit.
            clock: Returns the time in seconds.
        """
        self._keys = keys
        self._per_second = per_second
        self._clock = clock
        self._most = max(1.0, per_second * _BURST_SECONDS)
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, headers: Mapping[bytes, bytes]) -> str:
        """Count a request, and return the name of its key's owner.

        Raises:
            RefusedError: 401 without a known key, 429 if the rate of the key is used up.
        """
        name = self._owner(_given(headers))
        if not name:
            raise RefusedError(
                401,
                "This needs an API key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
                {"www-authenticate": "Bearer"},
            )
        if self._per_second:
            self._take(name)
        return name

    def _owner(self, key: bytes) -> str:
        """Return the owner of a key. The time that this takes does not tell how much of the key is right."""
        digest, owner = hashlib.sha256(key).digest(), ""
        for known, name in self._keys():
            if hmac.compare_digest(known, digest):
                owner = name
        return owner

    def _take(self, name: str) -> None:
        now = self._clock()
        left, since = self._left.get(name, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        if left < 1:
            wait = math.ceil((1 - left) / self._per_second)
            raise RefusedError(
                429, f"This key may send {self._per_second:g} requests a second.", {"retry-after": str(wait)}
            )
        self._left[name] = (left - 1, now)


def _given(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(_SCHEME)].lower() == _SCHEME:
        return authorization[len(_SCHEME) :].strip()
    return headers.get(b"x-api-key", b"")
