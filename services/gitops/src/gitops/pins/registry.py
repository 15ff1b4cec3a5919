"""A client of the model registry, over MLflow's REST API: resolve references to versions, and return their pins."""

import contextlib
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeVar

import httpx
import msgspec
from msgspec import UNSET, Struct

from gitops.errors import BadInputError, OutageError
from gitops.pins.release import Model
from gitops.trust import shown, usual_trust
from modelformat.digest import is_digest
from modelformat.tags import DIGEST, GATE, PASSED, REASON, RELEASE

_REFERENCE = re.compile(r"(?P<name>[^/@\s]+)(/(?P<version>[1-9][0-9]*)|@(?P<alias>[A-Za-z0-9_-]+))")
_NAMELESS = re.compile(r"[1-9][0-9]*|@[A-Za-z0-9_-]+")
_RELEASE = re.compile(r"[A-Za-z0-9._+-]{1,128}")
_SECONDS = 10.0
# Seconds between tries, so there is one more try than there are numbers.
_PAUSES = (0.5, 1.0, 2.0)
_BUSY = frozenset({429, 502, 503, 504})
_T = TypeVar("_T")


def completed(reference: str, name: str) -> str:
    """Return a reference that includes the model's name.

    Args:
        reference: NAME/VERSION, NAME@ALIAS, VERSION or @ALIAS.
        name: The model, for the last two forms.
    """
    if not _NAMELESS.fullmatch(reference):
        return reference
    return f"{name}{reference}" if reference.startswith("@") else f"{name}/{reference}"


class MlflowLogin(Struct, frozen=True):
    """A user of MLflow."""

    user: str
    password: str


def given_login() -> MlflowLogin | None:
    """Return the user of MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, as MLflow's own client does."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return MlflowLogin(user, password) if user and password else None


class Candidate(Struct, frozen=True, kw_only=True):
    """A model version that may be released: its pins, and the metrics of its run on held-out data.

    `reason` is why it was trained, if training recorded that.
    """

    model: Model
    metrics: dict[str, float]
    reason: str = ""


class _Tag(Struct, frozen=True):
    key: str
    value: str = ""


class _Metric(Struct, frozen=True):
    key: str
    # Protobuf writes numbers that JSON does not have as strings.
    value: float | Literal["NaN", "Infinity", "-Infinity"]


class _Version(Struct, frozen=True):
    name: str
    version: str
    status: str = "READY"
    run_id: str = ""
    tags: list[_Tag] = []


class _Versioned(Struct, frozen=True):
    model_version: _Version


class _Located(Struct, frozen=True):
    artifact_uri: str


class _RunData(Struct, frozen=True):
    metrics: list[_Metric] = []


class _Run(Struct, frozen=True):
    data: _RunData = _RunData()


class _RunAnswer(Struct, frozen=True):
    run: _Run


class MlflowRegistry:
    """The registered models of one MLflow server."""

    def __init__(
        self, url: str, pause: Callable[[float], None] = time.sleep, *, login: MlflowLogin | None = None
    ) -> None:
        """Take the server's address, a function that waits for a number of seconds, and the user.

        Without `login`, the user is that of `given_login`.
        """
        self._url = url.rstrip("/")
        self._shown = shown(self._url)
        self._pause = pause
        who = login or given_login()
        self._auth = (who.user, who.password) if who else None

    def find(self, reference: str) -> Candidate:
        """Resolve NAME/VERSION or NAME@ALIAS to a version that may be released.

        Raises:
            BadInputError: There is no such version, it did not pass its gate, or its pins would not work in pods.
            OutageError: MLflow does not answer.
        """
        match = _REFERENCE.fullmatch(reference)
        if not match:
            raise BadInputError(f"--model: {reference!r} is neither NAME/VERSION nor NAME@ALIAS.")
        found = self._version(match["name"], match["version"], match["alias"])
        tags = {tag.key: tag.value for tag in found.tags}
        title = f"{found.name} version {found.version}"
        if found.status != "READY":
            raise BadInputError(
                f"{title} is not ready in the registry (its status is {found.status}): try again later."
            )
        if tags.get(GATE) != PASSED:
            raise BadInputError(
                f"{title} did not pass its gate (its tag 'gate' is {tags.get(GATE)!r}): use a version that did, or "
                "train again."
            )
        digest = tags.get(DIGEST, "")
        if not is_digest(digest):
            raise BadInputError(
                f"{title} has no content digest (its tag 'digest' is {digest!r}): train it with `training run`, or "
                "register it with `training register`."
            )
        uri = self._get(
            "model-versions/get-download-uri", _Located, name=found.name, version=found.version
        ).artifact_uri
        if not uri.startswith("s3://"):
            raise BadInputError(
                f"{title} has its files at {uri}, where pods cannot download them without MLflow: run MLflow with "
                "--no-serve-artifacts and an s3:// artifact root."
            )
        # The version's name for people, unless the chart's schema would refuse it.
        release = tags.get(RELEASE, "")
        named = release if _RELEASE.fullmatch(release) else UNSET
        model = Model(name=found.name, version=found.version, release=named, digest=digest, uri=uri)
        return Candidate(model=model, metrics=self._metrics(found.run_id), reason=tags.get(REASON, ""))

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version of a registered model that an alias names, or None.

        Raises:
            BadInputError: MLflow refuses access.
            OutageError: MLflow does not answer.
        """
        try:
            return self._get("registered-models/alias", _Versioned, name=model, alias=alias).model_version.version
        except _NotFoundError:
            return None

    def remove_alias(self, model: str, alias: str) -> None:
        """Remove an alias; it is no error if it does not exist.

        Raises:
            BadInputError: MLflow refuses access.
            OutageError: MLflow does not answer.
        """
        with contextlib.suppress(_NotFoundError):
            self._get("registered-models/alias", dict[str, Any], method="DELETE", name=model, alias=alias)

    def _version(self, name: str, version: str | None, alias: str | None) -> _Version:
        try:
            if version:
                return self._get("model-versions/get", _Versioned, name=name, version=version).model_version
            return self._get("registered-models/alias", _Versioned, name=name, alias=alias or "").model_version
        except _NotFoundError as error:
            raise BadInputError(f"--model: MLflow at {self._shown} says: {error}") from None

    def _metrics(self, run_id: str) -> dict[str, float]:
        """Return the metrics of the model as a whole; none if the run was deleted."""
        if not run_id:
            return {}
        try:
            run = self._get("runs/get", _RunAnswer, run_id=run_id).run
        except _NotFoundError:
            return {}
        # Metrics of one class contain a slash, those of cross-validation begin with cv_. JSON has no NaN and no
        # infinity.
        return {
            metric.key: float(f"{float(metric.value):.6g}")
            for metric in sorted(run.data.metrics, key=lambda metric: metric.key)
            if "/" not in metric.key and not metric.key.startswith("cv_") and math.isfinite(float(metric.value))
        }

    def _get(self, endpoint: str, shape: type[_T], method: str = "GET", **query: str) -> _T:
        answer = self._answer(f"{self._url}/api/2.0/mlflow/{endpoint}", query, method)
        if answer.status_code == httpx.codes.OK:
            try:
                return msgspec.json.decode(answer.content, type=shape)
            except msgspec.MsgspecError as error:
                raise OutageError(f"The server at {self._shown} is not MLflow: {error}.") from None
        message = _message(answer)
        if answer.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
            raise _NotFoundError(message)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise BadInputError(
                f"MLflow at {self._shown} refuses with 401: {message} Set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD: the Secret mlflow-gitops in ml-pipeline holds a user."
            )
        if answer.status_code == httpx.codes.FORBIDDEN:
            who = f"The user {self._auth[0]}" if self._auth else "An anonymous user"
            raise BadInputError(
                f"MLflow at {self._shown} refuses with 403: {message} {who} may not do that, or MLflow does "
                "not know the host name of this address (its value allowedHosts)."
            )
        raise OutageError(f"MLflow at {self._shown} answered {answer.status_code}: {message}")

    @cached_property
    def _access(self) -> dict[str, Any]:
        return {"auth": self._auth, "timeout": _SECONDS, "verify": usual_trust(self._url)}

    def _answer(self, url: str, query: Mapping[str, str], method: str) -> httpx.Response:
        for pause in (*_PAUSES, None):
            try:
                answer = httpx.request(method, url, **_carried(method, query), **self._access)
            except httpx.InvalidURL as error:
                raise BadInputError(f"--mlflow-url: {self._shown!r} is not an address: {error}.") from None
            except httpx.HTTPError as error:
                reason = f"does not answer ({error or type(error).__name__})"
            else:
                if answer.status_code not in _BUSY:
                    return answer
                reason = f"answers {answer.status_code}"
            if pause is not None:
                self._pause(pause)
        raise OutageError(
            f"MLflow at {self._shown} {reason}, {len(_PAUSES) + 1} times in a row: check --mlflow-url, and whether its "
            "pod runs."
        )


def _carried(method: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments for httpx: MLflow reads parameters of a GET from the URL, otherwise from the body."""
    return {"params": query} if method == "GET" else {"json": dict(query)}


def _message(answer: httpx.Response) -> str:
    try:
        said: Any = answer.json()
    except ValueError:
        said = None
    text = said.get("message") if isinstance(said, dict) else None
    return str(text or answer.text[:200] or answer.reason_phrase).strip().rstrip(".") + "."


class _NotFoundError(Exception):
    """The object does not exist in MLflow; the message is MLflow's."""
