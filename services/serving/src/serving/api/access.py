"""Who may ask for predictions, and how often: API keys, and a rate for each."""

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
# How many seconds' worth of requests may come at once after a pause.
_BURST_SECONDS = 2.0
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64})[:=](?P<key>[\x21-\x7e]{16,256})")
_SCHEME = b"bearer "

Keys = tuple[tuple[bytes, str], ...]


def parse_keys(text: str, source: str) -> Keys:
    """Reads keys, one `NAME:KEY` a line or between commas; what is empty or begins with # does not count.

    That is so for a line and for an entry of it: no key of a line that begins with # holds.

    Returns:
        The SHA-256 of each key, and the name of whom it was given to.

    Raises:
        SettingsError: when an entry has another form; the message says where, but not what it holds.
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
    """Keys in a file, such as a mounted Secret's, read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            SettingsError: when it cannot be read, or holds no keys.
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
        """Gives the keys that hold now: none where the file holds none. While it cannot be read, those before do."""
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
    """Lets requests in by their key, each key so many requests a second."""

    def __init__(
        self, keys: Callable[[], Keys], per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes the check.

        Args:
            keys: Gives the keys that hold now.
            per_second: Requests that each may make a second, twice as many after a pause; 0 for any number.
            clock: Tells the time in seconds.
        """
        self._keys = keys
        self._per_second = per_second
        self._clock = clock
        self._most = max(1.0, per_second * _BURST_SECONDS)
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, headers: Mapping[bytes, bytes]) -> str:
        """Counts a request, and names whose key it has.

        Raises:
            RefusedError: 401 without a key that is known, 429 when the key's rate is used up.
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
        """Finds whose key it is, in a time that does not depend on how much of it is right."""
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
