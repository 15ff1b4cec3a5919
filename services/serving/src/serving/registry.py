"""The model registry, over MLflow's documented REST API."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from modelformat.tags import DIGEST, GATE, RELEASE
from serving.backoff import Backoff
from serving.errors import MALFORMED, ModelUnusableError, RegistryUnavailableError, UnknownVersionError
from serving.spans import NO_SPANS, Spans

if TYPE_CHECKING:
    import httpx

_API = "/api/2.0/mlflow"
_PASSING = {429, 500, 502, 503, 504}
_T = TypeVar("_T")


class RegisteredVersion(msgspec.Struct, frozen=True):
    """What the registry says of one model version. `number` counts up from 1; absent tags are empty.

    `origin` tells it from another version that got the same number after this one was deleted.
    """

    number: str
    ready: bool
    gate: str = ""
    digest: str = ""
    release: str = ""
    origin: str = ""


class _Tag(msgspec.Struct):
    key: str
    value: str = ""


class _ModelVersion(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,18}$")]
    status: str = "READY"
    creation_timestamp: int | str | None = None
    source: str | None = None
    tags: list[_Tag] = []


class _OneVersion(msgspec.Struct):
    model_version: _ModelVersion


class _SomeVersions(msgspec.Struct):
    model_versions: list[_ModelVersion] = []


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


class _Error(msgspec.Struct):
    error_code: str = ""


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class Login(msgspec.Struct, frozen=True):
    """How to get into MLflow: by a user and a password, or else by a token, as its own client has it."""

    username: str = ""
    password: str = ""
    token: str = ""


def mlflow_client(uri: str, login: Login, timeout: float, ssl_cert_file: str = "") -> "httpx.AsyncClient":
    """Makes the HTTP client for a tracking server; `timeout` in seconds bounds each wait for the network.

    Raises:
        SettingsError: when `ssl_cert_file` is named and holds no certificates.
    """
    import httpx  # noqa: PLC0415  (see `Sources`)

    from serving.certificates import trusted  # noqa: PLC0415  (as above)

    headers = {"user-agent": "serving"}
    if login.token and not login.username:
        headers["authorization"] = f"Bearer {login.token}"
    return httpx.AsyncClient(
        base_url=uri.rstrip("/"),
        auth=httpx.BasicAuth(login.username, login.password) if login.username else None,
        verify=trusted(ssl_cert_file),
        timeout=timeout,
        headers=headers,
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
    )


class Registry:
    """Asks about the versions of one registered model.

    `client` gives what reaches MLflow, and is not called before there is a question.
    Every question takes at most `timeout` seconds, repeats included. `on_error` is called once for each question that
    MLflow left unanswered, with the question's name. Each question is a span. `folders` says whether MLflow may name
    folders of this machine as places of versions.

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
        folders: bool = False,
    ) -> None:
        self._client = client
        self._folders = folders
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
        """Finds where a version's files are stored.

        Raises:
            ModelUnusableError: when that is a folder of this machine, and MLflow may name none.
        """
        absent = f"model {self._model!r} has no version {number}"
        query = {"name": self._model, "version": number}
        uri = (await self._get("model-versions/get-download-uri", query, _DownloadUri, absent)).artifact_uri
        if not self._folders and urlsplit(uri).scheme in ("", "file"):
            raise ModelUnusableError(
                "the registry says that its files are in a folder of this machine, which a writer of the registry "
                "must not be able to choose; store them in S3 or let MLflow serve artifacts, or set "
                "REGISTRY_FOLDERS=allow where MLflow runs on this machine"
            )
        return uri

    async def set_alias(self, alias: str, number: str) -> None:
        """Points an alias at a version."""
        absent = f"model {self._model!r} has no version {number}"
        body = {"name": self._model, "alias": alias, "version": number}
        answer = await self._ask("POST", "registered-models/alias", json=body)
        self._check(answer, "registered-models/alias", absent)

    async def _get(self, path: str, query: dict[str, str], kind: type[_T], absent: str) -> _T:
        with self._spans.span(f"registry {path}", {f"registry.{key}": value for key, value in query.items()}):
            answer = await self._ask("GET", path, params=query)
            self._check(answer, path, absent)
            try:
                return msgspec.json.decode(answer.body, type=kind)
            except MALFORMED as error:
                self._on_error(path)
                raise RegistryUnavailableError("MLflow's answer does not follow its API") from error

    async def _ask(self, method: str, path: str, **request: Any) -> "_Answer":
        """Sends a request, again where that may help, until the time is up."""
        import httpx  # noqa: PLC0415  (see `Sources`)

        from serving.answers import AnswerRefusedError, why  # noqa: PLC0415  (as above)

        backoff = Backoff(first=0.1, cap=1.0)
        reason = "no answer in time"
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    try:
                        answer = await self._answer(method, path, **request)
                    except httpx.RequestError as error:
                        reason = why(error)
                    else:
                        if answer.status not in _PASSING:
                            return answer
                        reason = f"status {answer.status}"
                    await asyncio.sleep(backoff.next())
        except TimeoutError:
            self._on_error(path)
            raise RegistryUnavailableError(f"MLflow does not answer ({reason})") from None
        except AnswerRefusedError as error:
            self._on_error(path)
            raise RegistryUnavailableError(f"MLflow's answer is refused: {error}") from None

    async def _answer(self, method: str, path: str, **request: Any) -> "_Answer":
        from serving.answers import read, send  # noqa: PLC0415  (see `Sources`)

        client = self._client()
        response = await send(client, client.build_request(method, f"{_API}/{path}", **request))
        try:
            return _Answer(response.status_code, await read(response))
        finally:
            await response.aclose()

    def _check(self, answer: "_Answer", path: str, absent: str) -> None:
        """Raises what an error status stands for. MLflow says 400 for a missing alias and 404 for the rest."""
        if 200 <= answer.status < 300:
            return
        code = _error_code(answer.body)
        if code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and answer.status == 400):
            raise UnknownVersionError(absent)
        self._on_error(path)
        hint = ""
        if answer.status in (401, 403):
            hint = (
                "; check that its --allowed-hosts lists this address, and that MLFLOW_TRACKING_USERNAME and "
                "..._PASSWORD, or MLFLOW_TRACKING_TOKEN, are correct"
            )
        raise RegistryUnavailableError(f"MLflow refuses to answer (status {answer.status}{hint})")


def _error_code(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Error).error_code
    except MALFORMED:
        return ""


def _version(found: _ModelVersion) -> RegisteredVersion:
    tags = {tag.key: tag.value for tag in found.tags}
    return RegisteredVersion(
        number=found.version,
        ready=found.status == "READY",
        gate=tags.get(GATE, ""),
        digest=tags.get(DIGEST, ""),
        release=tags.get(RELEASE, ""),
        origin=f"{found.creation_timestamp or ''} {found.source or ''}".strip(),
    )
