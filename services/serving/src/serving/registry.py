"""The model registry, through MLflow's documented REST API."""

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
    """A model version in the registry. `number` counts up from 1. Absent tags are empty.

    `origin` distinguishes it from another version that got the same number after this one was deleted.
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
    """The credentials for MLflow: a user and a password, or else a token, as in MLflow's own client."""

    username: str = ""
    password: str = ""
    token: str = ""


def mlflow_client(uri: str, login: Login, timeout: float, ssl_cert_file: str = "") -> "httpx.AsyncClient":
    """Create the HTTP client for a tracking server. `timeout` in seconds bounds each wait for the network.

    Raises:
        SettingsError: if no certificates can be read from `ssl_cert_file`.
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
    """Looks up the versions of one registered model.

    `client` returns the client of MLflow. It is first called for the first request. Every request takes at most
    `timeout` seconds, including retries. `on_error` is called once, with its name, for each request that MLflow did not
    answer. Each request is a span. `folders` says whether MLflow may name local folders as places of versions.

    All methods raise `RegistryUnavailableError` if MLflow does not answer or refuses the request. Methods that look for
    something raise `UnknownVersionError` if it does not exist.
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
        """Return the version that an alias points to."""
        absent = f"model {self._model!r} has no version with alias {alias!r}"
        query = {"name": self._model, "alias": alias}
        return _version((await self._get("registered-models/alias", query, _OneVersion, absent)).model_version)

    async def by_number(self, number: str) -> RegisteredVersion:
        """Return a version by its registry number."""
        absent = f"model {self._model!r} has no version {number}"
        query = {"name": self._model, "version": number}
        return _version((await self._get("model-versions/get", query, _OneVersion, absent)).model_version)

    async def by_release(self, release: str) -> RegisteredVersion:
        """Return the latest version with a `release` tag, such as v1.2.0."""
        absent = f"model {self._model!r} has no version with release {release!r}"
        query = {"filter": f"name='{self._model}' and tags.release='{release}'", "max_results": "100"}
        found = (await self._get("model-versions/search", query, _SomeVersions, absent)).model_versions
        if not found:
            raise UnknownVersionError(absent)
        return _version(max(found, key=lambda version: int(version.version)))

    async def artifact_uri(self, number: str) -> str:
        """Return the address of a version's files.

        Raises:
            ModelUnusableError: if that is a local folder, and `folders` is false.
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
        """Point an alias at a version."""
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
        """Send a request. Retry errors that may pass, until the time is up."""
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
        """Raise the error that a status means. MLflow answers 400 for a missing alias and 404 for anything else."""
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
