"""Requests to MLflow end in time, are retried if that helps, and end in errors that say what to do.

tests/integration tests the answers of the real MLflow. Here a transport replaces one that fails.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from serving.errors import RegistryUnavailableError, UnknownVersionError
from serving.registry import Registry

Answer = Callable[[httpx.Request], httpx.Response]
Question = Callable[[Registry], Coroutine[Any, Any, Any]]
VERSION = {"model_version": {"version": "3", "status": "READY", "tags": [{"key": "gate", "value": "passed"}]}}


def ask(answer: Answer, question: Question, errors: list[str] | None = None) -> Any:
    def on_its_way(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        return httpx.Response(found.status_code, headers=found.headers, stream=httpx.ByteStream(found.content))

    transport = httpx.MockTransport(on_its_way)

    async def scenario() -> Any:
        async with httpx.AsyncClient(transport=transport, base_url="http://mlflow:5000") as client:
            on_error = (errors if errors is not None else []).append
            return await question(Registry(lambda: client, "m", timeout=0.5, on_error=on_error))

    return asyncio.run(scenario())


def test_a_failure_that_passes_is_retried() -> None:
    said: list[httpx.Response | Exception] = [
        httpx.Response(503),
        httpx.ConnectError("refused"),
        httpx.Response(200, json=VERSION),
    ]
    answers = iter(said)

    def answer(_: httpx.Request) -> httpx.Response:
        match next(answers):
            case httpx.Response() as response:
                return response
            case error:
                raise error

    errors: list[str] = []
    found = ask(answer, lambda registry: registry.by_alias("production"), errors)
    assert (found.number, found.gate, found.digest) == ("3", "passed", "")
    assert errors == []


def test_an_outage_ends_in_time_and_is_counted_once() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    errors: list[str] = []
    with pytest.raises(RegistryUnavailableError, match=r"does not answer \(ConnectError\)"):
        ask(answer, lambda registry: registry.by_number("1"), errors)
    assert errors == ["model-versions/get"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_to_check(status: int) -> None:
    with pytest.raises(RegistryUnavailableError, match="--allowed-hosts"):
        ask(lambda _: httpx.Response(status, text="no"), lambda registry: registry.by_number("1"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"model_version": {"version": 3}}'])
def test_an_answer_of_another_form_is_an_outage(body: bytes) -> None:
    with pytest.raises(RegistryUnavailableError, match="does not follow its API"):
        ask(lambda _: httpx.Response(200, content=body), lambda registry: registry.by_number("1"))


@pytest.mark.parametrize(("status", "code"), [(404, "RESOURCE_DOES_NOT_EXIST"), (400, "INVALID_PARAMETER_VALUE")])
def test_a_version_that_does_not_exist_is_unknown(status: int, code: str) -> None:
    with pytest.raises(UnknownVersionError, match="no version with alias 'x'"):
        ask(lambda _: httpx.Response(status, json={"error_code": code}), lambda registry: registry.by_alias("x"))


def test_of_several_versions_with_a_release_the_latest_is_used() -> None:
    versions = [{"version": number} for number in ("9", "10", "2")]
    found = ask(lambda _: httpx.Response(200, json={"model_versions": versions}), lambda r: r.by_release("v1.0.0"))
    assert found.number == "10"
