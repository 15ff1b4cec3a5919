"""Missing or incomplete keys to S3 are reported, and keys that are added later are found."""

import asyncio

import httpx
import pytest

from serving.artifacts.signing import Signature
from serving.errors import StoreUnavailableError


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def signed(signature: Signature) -> httpx.Request:
    async def main() -> httpx.Request:
        return await anext(signature.async_auth_flow(httpx.Request("GET", "http://s3.example/bucket/key")))

    return asyncio.run(main())


def test_keys_that_are_added_later_are_found(nothing_known: pytest.MonkeyPatch) -> None:
    signature = Signature("us-east-1")
    with pytest.raises(StoreUnavailableError, match="there are no credentials for S3"):
        signed(signature)
    nothing_known.setenv("AWS_ACCESS_KEY_ID", "some-id")
    nothing_known.setenv("AWS_SECRET_ACCESS_KEY", "some-secret")
    assert "Credential=some-id/" in signed(signature).headers["authorization"]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("AWS_ACCESS_KEY_ID", "some-id", "AWS_SECRET_ACCESS_KEY"), ("AWS_PROFILE", "elsewhere", "elsewhere")],
)
def test_an_incomplete_key_is_named(nothing_known: pytest.MonkeyPatch, name: str, value: str, word: str) -> None:
    nothing_known.setenv(name, value)
    with pytest.raises(StoreUnavailableError, match=f"set AWS_ACCESS_KEY_ID and .*; those that were found .*{word}"):
        signed(Signature("us-east-1"))
