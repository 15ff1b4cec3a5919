"""Two attacks on MinIO's last community build that need only an access key id, and the protection from them.

CVE-2026-41145: the signature of an upload with an unsigned trailer is not checked if its key id is in the query.
CVE-2026-40344: nor is it checked if the upload is a tar file to unpack. A store must refuse both. **MinIO's last build
accepts them**, so HAProxy runs in front of it, in its pod (charts/minio/files/haproxy.cfg) and here.
"""

import base64
import contextlib
import datetime as dt
import http.client
import io
import tarfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support import guard
from tests.support.s3 import Target, random_keys

FORGED = b"forged"
Headers = list[tuple[str, str]]
NO_SIGNATURE = "0" * 64


def put(store: Target, path: str, body: bytes, headers: dict[str, str]) -> int:
    return httpx.put(f"{store.url}{path}", content=body, headers=headers, timeout=10).status_code


def unsigned(body: bytes, time: str) -> dict[str, str]:
    return {
        "X-Amz-Date": time,
        "X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "X-Amz-Decoded-Content-Length": str(len(body)),
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
    }


def chunked(body: bytes) -> bytes:
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    return b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(body), body, checksum)


def now() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"


def presigned(key_id: str, time: str) -> str:
    credential = quote(f"{key_id}/{time[:8]}/us-east-1/s3/aws4_request", safe="")
    return (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}&X-Amz-Expires=600"
        f"&X-Amz-SignedHeaders=host&X-Amz-Signature={NO_SIGNATURE}"
    )


def by_query(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-41145."""
    time = now()
    path = f"/{store.models}/{key}?{presigned(key_id, time)}"
    return put(store, path, chunked(FORGED), unsigned(FORGED, time))


def by_part(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-41145 with a part of a multipart upload that the writer has begun."""
    writer = store.client("mlflow")
    upload = writer.create_multipart_upload(Bucket=store.models, Key=key)["UploadId"]
    time = now()
    query = f"partNumber=1&uploadId={quote(upload, safe='')}&{presigned(key_id, time)}"
    try:
        return put(store, f"/{store.models}/{key}?{query}", chunked(FORGED), unsigned(FORGED, time))
    finally:
        assert not writer.list_parts(Bucket=store.models, Key=key, UploadId=upload).get("Parts")
        writer.abort_multipart_upload(Bucket=store.models, Key=key, UploadId=upload)


def archive_of(key: str) -> bytes:
    """Return a tar file with one file, which has the key's own name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(key)
        entry.size = len(FORGED)
        tar.addfile(entry, io.BytesIO(FORGED))
    return archive.getvalue()


def by_tar(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-40344."""
    time, archive = now(), archive_of(key)
    credential = f"{key_id}/{time[:8]}/us-east-1/s3/aws4_request"
    signed = "host;x-amz-content-sha256;x-amz-date"
    headers = unsigned(archive, time) | {
        "X-Amz-Meta-Snowball-Auto-Extract": "true",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={NO_SIGNATURE}",
    }
    return put(store, f"/{store.models}/{key}.tar", archive, headers)


def by_tar_and_query(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-40344 with the credentials in the query."""
    time, archive = now(), archive_of(key)
    headers = unsigned(archive, time) | {"X-Amz-Meta-Snowball-Auto-Extract": "true"}
    return put(store, f"/{store.models}/{key}.tar?{presigned(key_id, time)}", archive, headers)


# Other spellings of the same upload, which a proxy and the server behind it could interpret differently.
SPELLINGS: dict[str, Callable[[str, Headers], tuple[str, Headers]]] = {
    "header-in-lower-case": lambda path, headers: (path, [(name.lower(), value) for name, value in headers]),
    "header-with-spaces": lambda path, headers: (path, [(name, f"  {value}\t ") for name, value in headers]),
    "header-given-twice": lambda path, headers: (path, [*headers, ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")]),
    "empty-signature": lambda path, headers: (path, [*headers, ("Authorization", "")]),
    "credentials-encoded": lambda path, headers: (path.replace("X-Amz-Credential", "X%2dAmz%2dCredential"), headers),
    "whole-address": lambda path, headers: (f"http://store{path}", headers),
}


def spelled(name: str) -> "Way":
    def way(store: Target, key: str, key_id: str) -> int:
        time = now()
        path = f"/{store.models}/{key}?{presigned(key_id, time)}"
        path, headers = SPELLINGS[name](path, list(unsigned(FORGED, time).items()))
        host, _, port = store.url.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port or 80), timeout=10)
        connection.putrequest("PUT", path)
        for header, value in [*headers, ("Content-Length", str(len(chunked(FORGED))))]:
            connection.putheader(header, value)
        connection.endheaders(chunked(FORGED))
        with contextlib.closing(connection):
            return connection.getresponse().status

    return way


def guarded(store: Target) -> None:
    """Skip a test of attacks that MinIO resists only behind HAProxy."""
    if store.name == "MinIO" and guard.PROGRAM is None:
        pytest.skip(guard.WITHOUT)


Way = Callable[[Target, str, str], int]
WAYS = [
    pytest.param(by_query, id="CVE-2026-41145"),
    pytest.param(by_part, id="CVE-2026-41145-part"),
    pytest.param(by_tar, id="CVE-2026-40344"),
    pytest.param(by_tar_and_query, id="CVE-2026-40344-query"),
    *(pytest.param(spelled(name), id=name) for name in SPELLINGS),
]


def pinned(store: Target, key: str) -> bytes:
    return bytes(store.client("serving").get_object(Bucket=store.models, Key=key)["Body"].read())


@pytest.mark.parametrize("way", WAYS)
def test_a_guessed_id_writes_nothing(store: Target, key: str, way: Way) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"pinned")
    for guess in ("mlflow", "root", "minioadmin", random_keys()["AWS_ACCESS_KEY_ID"]):
        assert way(store, key, guess) == 403
    assert pinned(store, key) == b"pinned"


@pytest.mark.parametrize("way", WAYS)
def test_a_known_id_without_its_secret_writes_nothing(store: Target, key: str, way: Way) -> None:
    guarded(store)
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"pinned")
    status = way(store, key, store.users["mlflow"]["AWS_ACCESS_KEY_ID"])
    assert status in {400, 403}
    assert pinned(store, key) == b"pinned"
    versions = store.client("root").list_object_versions(Bucket=store.models, Prefix=key)["Versions"]
    assert len(versions) == 1


def test_a_known_id_without_its_secret_reads_nothing(store: Target, key: str) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"secret model")
    known = store.users["serving"] | {"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}
    stranger = Target(store.name, store.url, {"stranger": known}).client("stranger")
    with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket=store.models, Key=key)


def test_an_unsigned_trailer_is_accepted_if_the_header_is_signed(store: Target, key: str) -> None:
    """SDKs send it like this over HTTPS, which a proxy may end in front of the store."""
    time, keys = now(), store.users["mlflow"]
    address = f"{store.url}/{store.models}/{key}"
    for secret, expected in (("wrong-wrong-wrong", 403), (keys["AWS_SECRET_ACCESS_KEY"], 200)):
        request = AWSRequest("PUT", address, headers=unsigned(FORGED, time), data=chunked(FORGED))
        request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}
        S3SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], secret), "s3", "us-east-1").add_auth(request)
        headers = dict(request.headers.items())
        assert headers["X-Amz-Content-SHA256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        assert put(store, f"/{store.models}/{key}", chunked(FORGED), headers) == expected
    assert pinned(store, key) == FORGED
