"""Says in plain words why bytes are not JSON."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

_MARKS = (BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE)
_PLACE = re.compile(r"\(byte (\d+)\)$")
_NO_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")


def why_malformed(error: Exception, body: bytes | memoryview) -> str:
    """Return why `body` could not be decoded, from the error of msgspec's decoder.

    A number that JSON does not have, and a byte order mark, are what clients write by mistake, so these are named.
    """
    if bytes(body[:3]).startswith(_MARKS):
        return "it begins with a byte order mark: send UTF-8 without one"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if place := _PLACE.search(str(error)):
        at = int(place[1])
        # The error is at the second character of NaN and -Infinity, and at the first one of Infinity.
        for begin in (max(0, at - 1), at):
            if found := _NO_NUMBER.match(bytes(body[begin : begin + 9])):
                return f"{found[0].decode()} (byte {begin}) is not in JSON: send null for a missing value"
    return str(error)
