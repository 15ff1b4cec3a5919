"""Requests and answers as bytes, for cases that need no parser."""

from collections.abc import Iterable

MAX_HEAD_BYTES = 64 * 1024

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_OFFERS = (b"upgrade", b"http2-settings")


def head_without_upgrade(method: str, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a request's head without its offer of another protocol. Names are in lower case."""
    lines = [b"%s %s HTTP/1.1" % (method.encode(), url)]
    for name, value in headers:
        if name == b"connection":
            kept = [option for option in value.split(b",") if option.strip().lower() not in _OFFERS]
            if kept:
                lines.append(b"connection: " + b",".join(kept).strip())
        elif name not in _OFFERS:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join((*lines, b"", b""))


def is_one_request(data: bytes) -> bool:
    """Return whether the bytes are exactly one request that leaves the connection open, judged only by its head."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or len(head) > MAX_HEAD_BYTES:
        return False
    first, _, fields = head.lower().partition(b"\r\n")
    lines = b"\r\n" + fields + b"\r\n"
    plain = b"\r\nexpect:" not in lines and b"\r\ntransfer-encoding:" not in lines
    stays_open = first.endswith(b" http/1.1") and _value(lines, b"connection") in {b"", b"keep-alive"}
    return plain and stays_open and _value(lines, b"content-length") == b"%d" % len(body)


def _value(lines: bytes, name: bytes) -> bytes:
    return lines.partition(b"\r\n%s:" % name)[2].partition(b"\r\n")[0].strip()
