"""Artifacts in S3 or in a store with its protocol (`s3://bucket/prefix`).

It needs two requests, ListObjectsV2 and GetObject.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

import httpx

from serving.answers import AnswerRefusedError, read, why
from serving.artifacts.base import MAX_FILES, BoundedWriter, RemoteFile
from serving.artifacts.signing import Signature, code_of
from serving.certificates import trusted
from serving.errors import ModelUnusableError, StoreUnavailableError

_TIMEOUT_SECONDS = 10.0
_PAGE = MAX_FILES
# A folder may be an object too, and is then listed like a file, so more pages than one may be needed.
_MOST_PAGES = 5
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_NO_LIST = "S3's list of files does not follow its protocol"


class S3Store:
    """Reads `s3://` addresses of one server, with path-style requests."""

    def __init__(self, endpoint_url: str, region: str, secret_name: str = "", ssl_cert_file: str = "") -> None:
        """Configure the store, without a request.

        Args:
            endpoint_url: The server.
            region: The region that requests are signed for.
            secret_name: The Secret with the keys. The error names it if the server refuses them.
            ssl_cert_file: The authorities to trust instead of the usual ones; empty for those.
        """
        self._ssl_cert_file = ssl_cert_file
        self._endpoint_url = endpoint_url.rstrip("/")
        self._region = region
        self._keys = f"; its keys come from Secret {secret_name}" if secret_name else ""

    async def files(self, uri: str) -> AsyncIterator[RemoteFile]:
        """List the objects below the prefix, page by page."""
        bucket, prefix = _bucket_and_prefix(uri)
        query = {"list-type": "2", "max-keys": str(_PAGE), "prefix": prefix}
        for _ in range(_MOST_PAGES):
            page = await self._page(bucket, query)
            for entry in page.iterfind("{*}Contents"):
                key = entry.findtext("{*}Key", "")
                if not key.endswith("/"):
                    yield RemoteFile(key.removeprefix(prefix), _size(entry))
            token = page.findtext("{*}NextContinuationToken")
            if not token or page.findtext("{*}IsTruncated") != "true":
                return
            query["continuation-token"] = token
        raise ModelUnusableError(f"it has more than {MAX_FILES} files")

    async def _page(self, bucket: str, query: dict[str, str]) -> ET.Element:
        url = f"{self._endpoint_url}/{bucket}?{urlencode(query, quote_via=quote, safe='')}"
        try:
            async with self._answer(url, bucket) as response:
                page = ET.fromstring(await read(response))  # noqa: S314  (expat bounds the growth of entities)
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"S3 does not answer ({why(error)})") from error
        except AnswerRefusedError as error:
            raise StoreUnavailableError(f"S3's list of files is refused: {error}") from error
        except ET.ParseError as error:
            raise StoreUnavailableError(_NO_LIST) from error
        if page.tag.rpartition("}")[2] != "ListBucketResult":
            raise StoreUnavailableError(_NO_LIST)
        return page

    @contextlib.asynccontextmanager
    async def _answer(self, url: str, bucket: str) -> AsyncIterator[httpx.Response]:
        """Send a request, and yield the response if it is not an error. Its body is not read yet.

        Redirects are not followed: they would lead to another server than the one in the settings.
        """
        async with self._client.stream("GET", url, headers={"accept-encoding": "identity"}) as response:
            if response.is_success:
                yield response
                return
            if response.status_code == httpx.codes.NOT_FOUND:
                raise ModelUnusableError(f"its files are not in bucket {bucket!r}")
            if response.is_server_error:
                raise StoreUnavailableError(f"S3 answers {response.status_code}")
            if response.is_redirect:
                raise StoreUnavailableError(
                    f"S3 redirects elsewhere (status {response.status_code}); set S3_ENDPOINT_URL to its real "
                    "address, and AWS_REGION to its region"
                )
            reason = f"({await code_of(response)}{self._keys})"
            raise StoreUnavailableError(f"S3 refuses to give files of bucket {bucket!r} {reason}")

    async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
        """Download one object."""
        bucket, prefix = _bucket_and_prefix(uri)
        try:
            async with self._answer(f"{self._endpoint_url}/{bucket}/{quote(prefix + path)}", bucket) as response:
                with BoundedWriter(target, limit) as writer:
                    # The bytes as stored, whatever their Content-Encoding: the digest is computed from these.
                    async for chunk in response.aiter_raw():
                        writer.write(chunk)
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"S3 does not answer ({why(error)})") from error

    async def aclose(self) -> None:
        """Close the connections, if any were opened."""
        if "_client" in vars(self):
            await self._client.aclose()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=Signature(self._region), verify=trusted(self._ssl_cert_file), timeout=_TIMEOUT_SECONDS
        )


def _size(entry: ET.Element) -> int:
    size = entry.findtext("{*}Size", "0")
    if not (size.isascii() and size.isdigit() and len(size) <= 18):
        raise StoreUnavailableError(_NO_LIST)
    return int(size)


def _bucket_and_prefix(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    if not _BUCKET.fullmatch(parts.netloc):
        raise ModelUnusableError("its files are at an s3: address without a valid name of a bucket")
    return parts.netloc, parts.path.strip("/") + "/"
