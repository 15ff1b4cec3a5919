"""S3's request signatures, and the codes of its errors.

botocore finds credentials and signs. Its client is not used: for the few requests that are needed, it would hold 15 MB
of descriptions of all the others for as long as the process lives.
"""

import asyncio
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import httpx

from serving.answers import AnswerRefusedError, read
from serving.errors import StoreUnavailableError

# The key id, and the secret.
Keys: TypeAlias = tuple[str, str]

_NO_CREDENTIALS = "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
# The most bytes of an error document, which is short.
_ERROR_BYTES = 64 * 1024


class Signature(httpx.Auth):
    """Signs requests with AWS Signature Version 4."""

    def __init__(self, region: str, keys: Keys | None = None) -> None:
        """Sign for a region, with the given keys or with those of the environment."""
        self._region = region
        self._keys = keys
        self._source: Any = None

    def prepare(self) -> None:
        """Import what signing needs. It takes some tenths of a second, so call it before requests arrive."""
        for name in ("auth", "awsrequest", "credentials", "session"):
            import_module(f"botocore.{name}")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the headers of a signature for this URL."""
        # Imported here, so that only deployments that use S3 pay for it.
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        signed = AWSRequest(method=request.method, url=str(request.url), data=request.content)
        S3SigV4Auth(await self._credentials(), "s3", self._region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        yield request

    async def _credentials(self) -> Any:
        """Return credentials, renewed if they expire. That may need requests, so it runs in a thread."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (as above)

        try:
            found = await asyncio.to_thread(self._frozen)
        except (BotoCoreError, ClientError) as error:
            # Half a key, a missing profile, or the service that provides roles is unavailable.
            reason = " ".join(str(error).split())[:300]
            raise StoreUnavailableError(f"{_NO_CREDENTIALS}; those that were found cannot be used: {reason}") from error
        if not found:
            raise StoreUnavailableError(_NO_CREDENTIALS)
        return found

    def _frozen(self) -> Any:
        # None is not cached: the service that provides roles may be down when the first request is signed.
        self._source = self._source or self._found()
        return self._source and self._source.get_frozen_credentials()

    def _found(self) -> Any:
        if self._keys:
            from botocore.credentials import Credentials  # noqa: PLC0415  (as above)

            return Credentials(*self._keys)
        from botocore.session import Session  # noqa: PLC0415  (as above)

        return Session().get_credentials()


async def code_of(response: httpx.Response) -> str:
    """Return S3's own code for an error, such as AccessDenied, or else the status."""
    try:
        document = ET.fromstring(await read(response, _ERROR_BYTES))  # noqa: S314  (expat bounds growth)
    except (ET.ParseError, AnswerRefusedError):
        return str(response.status_code)
    return document.findtext("Code", "")[:100] or str(response.status_code)
