"""The model registry, over MLflow's documented REST API."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from serving.backoff import Backoff
from serving.errors import RegistryUnavailableError, UnknownVersionError
from serving.spans import NO_SPANS, Spans

if TYPE_CHECKING:
    import httpx

_API = "/api/2.0/mlflow"
_PASSING = {429, 500, 502, 503, 504}
_T = TypeVar("_T")


class RegisteredVersion(msgspec.Struct, frozen=True):
    """What the registry says of one model version. `number` counts up from 1; absent tags are empty."""

    number: str
    ready: bool
    gate: str = ""
    digest: str = ""
    release: str = ""


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _ModelVersion(msgspec.Struct):
    version: str
    status: str = "READY"
    tags: list[_Tag] = []


class _OneVersion(msgspec.Struct):
    model_version: _ModelVersion


class _SomeVersions(msgspec.Struct):
    model_versions: list[_ModelVersion] = []


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


class _Error(msgspec.Struct):
    error_code: str = ""


def mlflow_client(uri: str, username: str, password: str, timeout: float) -> "httpx.AsyncClient":
    """Makes the HTTP client for a tracking server; `timeout` in seconds bounds each wait for the network."""
    import httpx  # noqa: PLC0415  (see `Sources`)

    from serving.certificates import trusted  # noqa: PLC0415  (as above)

    return httpx.AsyncClient(
        base_url=uri.rstrip("/"),
        auth=httpx.BasicAuth(username, password) if username else None,
        verify=trusted(uri),
        timeout=timeout,
        headers={"user-agent": "serving"},
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
    )


class Registry:
    """Asks about the versions of one registered model.

    `client` gives what reaches MLflow, and is not called before there is a question.
    Every question takes at most `timeout` seconds, repeats included. `on_error` is called once for each question that
    MLflow left unanswered, with the question's name. Each question is a span.

    All methods raise `RegistryUnavailableError` when MLflow does not answer or refuses to, and those that look for
    something raise `UnknownVersionError` when it is not there.
    """

    def __init__(
        self,
        client: "Callable[[], httpx.AsyncClient]",
        model: str,
        *,
        timeout: float,
        on_error: Callable[[str], None] = lambda _: None,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._client = client
        self._model = model
        self._timeout = timeout
        self._on_error = on_error
        self._spans = spans

    async def by_alias(self, alias: str) -> RegisteredVersion:
        """Finds the version that an alias points at."""
        absent = f"model {self._model!r} has no version with alias {alias!r}"
        query = {"name": self._model, "alias": alias}
        return _version((await self._get("registered-models/alias", query, _OneVersion, absent)).model_version)

    async def by_number(self, number: str) -> RegisteredVersion:
        """Finds a version by its registry number."""
        absent = f"model {self._model!r} has no version {number}"
        query = {"name": self._model, "version": number}
        return _version((await self._get("model-versions/get", query, _OneVersion, absent)).model_version)

    async def by_release(self, release: str) -> RegisteredVersion:
        """Finds the latest version with a `release` tag, such as v1.2.0."""
        absent = f"model {self._model!r} has no version with release {release!r}"
        query = {"filter": f"name='{self._model}' and tags.release='{release}'", "max_results": "100"}
        found = (await self._get("model-versions/search", query, _SomeVersions, absent)).model_versions
        if not found:
            raise UnknownVersionError(absent)
        return _version(max(found, key=lambda version: int(version.version)))

    async def artifact_uri(self, number: str) -> str:
        """Finds where a version's files are stored."""
        absent = f"model {self._model!r} has no version {number}"
        query = {"name": self._model, "version": number}
        return (await self._get("model-versions/get-download-uri", query, _DownloadUri, absent)).artifact_uri

    async def set_alias(self, alias: str, number: str) -> None:
        """Points an alias at a version."""
        absent = f"model {self._model!r} has no version {number}"
        body = {"name": self._model, "alias": alias, "version": number}
        response = await self._ask("POST", "registered-models/alias", json=body)
        self._check(response, "registered-models/alias", absent)

    async def _get(self, path: str, query: dict[str, str], kind: type[_T], absent: str) -> _T:
        with self._spans.span(f"registry {path}", {f"registry.{key}": value for key, value in query.items()}):
            response = await self._ask("GET", path, params=query)
            self._check(response, path, absent)
            try:
                return msgspec.json.decode(response.content, type=kind)
            except msgspec.MsgspecError as error:
                self._on_error(path)
                raise RegistryUnavailableError("MLflow's answer is not what its API promises") from error

    async def _ask(self, method: str, path: str, **request: Any) -> "httpx.Response":
        """Sends a request, again where that may help, until the time is up."""
        import httpx  # noqa: PLC0415  (see `Sources`)

        backoff = Backoff(first=0.1, cap=1.0)
        reason = "no answer in time"
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    try:
                        response = await self._client().request(method, f"{_API}/{path}", **request)
                    except httpx.RequestError as error:
                        reason = type(error).__name__
                    else:
                        if response.status_code not in _PASSING:
                            return response
                        reason = f"status {response.status_code}"
                    await asyncio.sleep(backoff.next())
        except TimeoutError:
            self._on_error(path)
            raise RegistryUnavailableError(f"MLflow does not answer ({reason})") from None

    def _check(self, response: "httpx.Response", path: str, absent: str) -> None:
        """Raises what an error status stands for. MLflow says 400 for a missing alias and 404 for the rest."""
        if response.is_success:
            return
        code = _error_code(response)
        if code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and response.status_code == 400):
            raise UnknownVersionError(absent)
        self._on_error(path)
        hint = ""
        if response.status_code in (401, 403):
            hint = (
                "; its --allowed-hosts must list this address, and MLFLOW_TRACKING_USERNAME and ..._PASSWORD be right"
            )
        raise RegistryUnavailableError(f"MLflow refuses to answer (status {response.status_code}{hint})")


def _error_code(response: "httpx.Response") -> str:
    try:
        return msgspec.json.decode(response.content, type=_Error).error_code
    except msgspec.MsgspecError:
        return ""


def _version(found: _ModelVersion) -> RegisteredVersion:
    tags = {tag.key: tag.value for tag in found.tags}
    return RegisteredVersion(
        number=found.version,
        ready=found.status == "READY",
        gate=tags.get("gate", ""),
        digest=tags.get("digest", ""),
        release=tags.get("release", ""),
    )
