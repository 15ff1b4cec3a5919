"""Reads responses of MLflow and of stores, which are not trusted: it bounds their size and restricts redirects."""

import ssl
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

# The longest expected answer is a list of a hundred versions with all tags (MLflow), or of 200 names (S3).
MAX_ANSWER_BYTES = 4 * 1024 * 1024

_MOST_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK = 64 * 1024
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class AnswerRefusedError(Exception):
    """A response that is not accepted. The message says why, and what to do."""


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request, follow redirects within the same server, and return a response whose body is not read yet.

    A redirect may lead from http to https, but not to another host: that host would get the credentials, or would get
    requests from this process. The caller closes the response.

    Raises:
        AnswerRefusedError: if a redirect leads to another server, or there are too many.
        httpx.HTTPError: if there is no response.
    """
    request.headers["accept-encoding"] = "identity"
    for _ in range(_MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        if response.status_code not in _REDIRECTS or not (location := response.headers.get("location")):
            return response
        await response.aclose()
        request = _redirected(client, request, response, location)
    raise AnswerRefusedError(f"it redirects more than {_MOST_REDIRECTS} times")


def _redirected(
    client: httpx.AsyncClient, request: httpx.Request, response: httpx.Response, location: str
) -> httpx.Request:
    try:
        url = request.url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise AnswerRefusedError("it redirects to an address that is not valid") from None
    same = url.host == request.url.host and (url.scheme, url.port) == (request.url.scheme, request.url.port)
    safer = url.host == request.url.host and (request.url.scheme, url.scheme) == ("http", "https")
    if not (same or safer) or (request.method not in {"GET", "HEAD"} and response.status_code not in {307, 308}):
        raise AnswerRefusedError(f"it redirects elsewhere (status {response.status_code}); set its real address")
    return client.build_request(request.method, url, content=request.content, headers=_plain(request))


def _plain(request: httpx.Request) -> dict[str, str]:
    """Return the headers of a request, without those that belong to its address."""
    return {name: value for name, value in request.headers.items() if name not in {"host", "authorization"}}


async def chunks(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yield the body in chunks, decompressed if necessary, of at most `limit` bytes in total.

    Raises:
        AnswerRefusedError: if there is more, or its compression cannot be bounded.
        httpx.HTTPError: if the rest of the body does not arrive.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip", "deflate", ""}:
        raise AnswerRefusedError(f"its answer is compressed with {coding[:20]!r}, which was not asked for")
    inflate = None if coding in {"identity", ""} else zlib.decompressobj(_GZIP_OR_ZLIB)
    left = limit
    async for raw in response.aiter_raw():
        for chunk in _inflated(inflate, raw) if inflate else (raw,):
            left -= len(chunk)
            if left < 0:
                raise AnswerRefusedError(f"its answer is longer than {limit} bytes")
            yield chunk


def _inflated(inflate: "zlib._Decompress", raw: bytes) -> Iterator[bytes]:
    """Decompress a chunk in small pieces, because its content can be a thousand times as long."""
    try:
        chunk = inflate.decompress(raw, _CHUNK)
        while chunk:
            yield chunk
            chunk = inflate.decompress(inflate.unconsumed_tail, _CHUNK)
    except zlib.error:
        raise AnswerRefusedError("its answer says that it is compressed, but is not") from None


async def read(response: httpx.Response, limit: int = MAX_ANSWER_BYTES) -> bytes:
    """Return the whole body (see `chunks`)."""
    return b"".join([chunk async for chunk in chunks(response, limit)])


def why(error: BaseException) -> str:
    """Return in a few words why there was no response: the problem of the certificate, or else the error's name."""
    found: BaseException | None = error
    while found:
        if isinstance(found, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted: {found.verify_message}; name a file with the certificate of the "
                "authority that issued it in SSL_CERT_FILE"
            )
        found = found.__cause__ or found.__context__
    return type(error).__name__
