"""Stores the files of the log in S3, with one request each (PutObject), as a user with no other rights."""

from urllib.parse import quote, urlsplit

import httpx

from serving.answers import why
from serving.artifacts.signing import Keys, Signature, code_of
from serving.certificates import trusted
from serving.errors import StoreUnavailableError

_TIMEOUT_SECONDS = 10.0
# Without Content-Encoding: readers decide by the name whether to decompress, and httpx would have done it already.
_MEDIA_TYPE = "application/gzip"


class LogStore:
    """Writes below one `s3://` address, with path-style requests.

    Everything that it needs is imported when it is created, so that no request waits for an import when the first file
    is sent.

    Args:
        uri: The address.
        endpoint_url: The server.
        region: The region that requests are signed for.
        keys: The keys of its user, None for those of the environment.
        ssl_cert_file: The authorities to trust instead of the usual ones; empty for those.
    """

    def __init__(self, uri: str, endpoint_url: str, region: str, keys: Keys | None, ssl_cert_file: str = "") -> None:
        parts = urlsplit(uri)
        self._bucket = parts.netloc
        place = f"{self._bucket}{parts.path}".rstrip("/")
        self._url = f"{endpoint_url.rstrip('/')}/{quote(place)}"
        signature = Signature(region, keys)
        signature.prepare()
        self._client = httpx.AsyncClient(auth=signature, verify=trusted(ssl_cert_file), timeout=_TIMEOUT_SECONDS)

    async def put(self, path: str, body: bytes) -> None:
        """Write one file. The same file may be written again.

        Raises:
            StoreUnavailableError: if the store does not answer, or refuses it.
        """
        # The signature covers the path as it is sent, with %3D for `=`.
        url = f"{self._url}/{quote(path)}"
        headers = {"content-type": _MEDIA_TYPE, "accept-encoding": "identity"}
        try:
            async with self._client.stream("PUT", url, content=body, headers=headers) as response:
                if response.is_success and "etag" in response.headers:
                    return
                if response.is_success:
                    raise StoreUnavailableError(
                        "the server that answers is not an S3 store; set S3_ENDPOINT_URL to the store's address"
                    )
                if response.is_redirect:
                    raise StoreUnavailableError(
                        f"S3 redirects elsewhere (status {response.status_code}); set S3_ENDPOINT_URL to its real "
                        "address, and AWS_REGION to its region"
                    )
                code = await code_of(response)
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"S3 does not answer ({why(error)})") from error
        raise StoreUnavailableError(f"S3 refuses to write into bucket {self._bucket!r} ({code})")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
