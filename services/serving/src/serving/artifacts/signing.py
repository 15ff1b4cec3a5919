"""What S3's protocol asks of every request, and what it says of those that it refuses.

botocore finds credentials and signs; its client for the few requests that are needed would hold 15 MB of descriptions
of all the others, for as long as the process lives.
"""

import asyncio
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import httpx

from serving.answers import AnswerRefusedError, read
from serving.errors import StoreUnavailableError

# The key's id, and its secret.
Keys: TypeAlias = tuple[str, str]

_NO_CREDENTIALS = "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
# Of an error's document, which is short.
_ERROR_BYTES = 64 * 1024


class Signature(httpx.Auth):
    """Signs requests as AWS asks for (Signature Version 4)."""

    def __init__(self, region: str, keys: Keys | None = None) -> None:
        """Signs for a region, with some keys or with those that the environment has."""
        self._region = region
        self._keys = keys
        self._source: Any = None

    def prepare(self) -> None:
        """Imports what signing needs, which takes some tenths of a second: for those who have callers by then."""
        for name in ("auth", "awsrequest", "credentials", "session"):
            import_module(f"botocore.{name}")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Adds the headers of a signature that is made for this very URL."""
        # Imported here, because deployments without S3 need not pay for it.
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        signed = AWSRequest(method=request.method, url=str(request.url), data=request.content)
        S3SigV4Auth(await self._credentials(), "s3", self._region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        yield request

    async def _credentials(self) -> Any:
        """Finds credentials, fresh ones where they expire. That may need separate requests, so it runs in a thread."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  (as above)

        try:
            found = await asyncio.to_thread(self._frozen)
        except (BotoCoreError, ClientError) as error:
            # Half a key, a profile that is not there, or whoever gives roles is away.
            reason = " ".join(str(error).split())[:300]
            raise StoreUnavailableError(f"{_NO_CREDENTIALS}; what was found is of no use: {reason}") from error
        if not found:
            raise StoreUnavailableError(_NO_CREDENTIALS)
        return found

    def _frozen(self) -> Any:
        # None is not kept: whoever gives roles may be away when the first request is signed.
        self._source = self._source or self._found()
        return self._source and self._source.get_frozen_credentials()

    def _found(self) -> Any:
        if self._keys:
            from botocore.credentials import Credentials  # noqa: PLC0415  (as above)

            return Credentials(*self._keys)
        from botocore.session import Session  # noqa: PLC0415  (as above)

        return Session().get_credentials()


async def code_of(response: httpx.Response) -> str:
    """Finds S3's own name for an error, such as AccessDenied; else the status."""
    try:
        document = ET.fromstring(await read(response, _ERROR_BYTES))  # noqa: S314  (expat bounds what entities may grow to)
    except (ET.ParseError, AnswerRefusedError):
        return str(response.status_code)
    return document.findtext("Code", "")[:100] or str(response.status_code)
