"""The smoke test of a deployment: does it serve the pinned version, and does it answer a prediction?

Only if all of that is true does it move the registry alias named after the environment, so the alias always names what
really runs.
"""

import asyncio
from typing import Any

import httpx
import msgspec

from serving.answers import why
from serving.backoff import Backoff
from serving.certificates import trusted
from serving.errors import ServingError
from serving.registry import Login, Registry, mlflow_client
from serving.schemas import ModelInfo, PredictResponse
from serving.settings import SmokeSettings

_REQUEST_SECONDS = 5.0


class SmokeError(Exception):
    """The deployment is not as expected. The message says what differs."""


async def smoke(settings: SmokeSettings) -> str:
    """Test the deployment until everything is as expected, or the time is up. Then move the alias.

    Returns:
        A sentence that says what was found and done.

    Raises:
        SmokeError: with what differed at the last attempt.
    """
    backoff = Backoff(first=0.25, cap=5.0)
    problem = f"no answer from {settings.smoke_url}"
    try:
        async with asyncio.timeout(settings.smoke_seconds):
            while True:
                try:
                    return await _attempt(settings)
                except SmokeError as error:
                    problem = str(error)
                await asyncio.sleep(backoff.next())
    except TimeoutError:
        raise SmokeError(f"{problem} (tried for {settings.smoke_seconds:g} s)") from None


async def _attempt(settings: SmokeSettings) -> str:
    headers = {"authorization": f"Bearer {settings.smoke_api_key}"} if settings.smoke_api_key else {}
    base_url = settings.smoke_url.rstrip("/")
    async with httpx.AsyncClient(
        base_url=base_url, timeout=_REQUEST_SECONDS, headers=headers, verify=trusted(settings.ssl_cert_file)
    ) as client:
        info = await _ask(client, "GET", "/model/info", ModelInfo)
        _compare("model", settings.model_name, info.name)
        _compare("version", settings.model_version, info.version)
        _compare("digest", settings.model_digest, info.digest)
        answer = await _ask(client, "POST", "/predict", PredictResponse, json=msgspec.to_builtins(info.input_example))
        _compare("version in the prediction", info.release or info.version, answer.model_version)
    done = f"{info.name} version {info.version} ({info.digest}) predicts {answer.prediction!r}"
    if not settings.smoke_alias:
        return done
    if not settings.model_version:
        return f"{done}; alias {settings.smoke_alias!r} stays, because no version is pinned"
    await _move_alias(settings)
    return f"{done}; alias {settings.smoke_alias!r} points at it"


def _compare(what: str, expected: str, found: str) -> None:
    if expected and expected != found:
        raise SmokeError(f"the {what} is {found!r}, but {expected!r} is expected")


async def _ask(client: httpx.AsyncClient, method: str, path: str, kind: type[Any], **request: Any) -> Any:
    try:
        response = await client.request(method, path, **request)
    except httpx.HTTPError as error:
        raise SmokeError(f"{method} {path} gets no answer ({why(error)})") from error
    if response.is_error:
        raise SmokeError(f"{method} {path} gets the answer {response.status_code}: {response.text[:300]}")
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise SmokeError(f"{method} {path} gets an answer that does not follow its schema: {error}") from error


async def _move_alias(settings: SmokeSettings) -> None:
    timeout = settings.registry_timeout_seconds
    login = Login(settings.mlflow_tracking_username, settings.mlflow_tracking_password, settings.mlflow_tracking_token)
    async with mlflow_client(settings.mlflow_tracking_uri, login, timeout, settings.ssl_cert_file) as client:
        registry = Registry(lambda: client, settings.model_name, timeout=timeout)
        try:
            await registry.set_alias(settings.smoke_alias, settings.model_version)
        except ServingError as error:
            raise SmokeError(f"the alias {settings.smoke_alias!r} cannot be moved: {error}") from error
