"""Questions to the Prometheus that watches an environment."""

import contextlib
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Self, TypeVar

import httpx
import msgspec
from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.errors import OutageError
from gitops.platform.model import MONITORING, Platform
from gitops.platform.targets import Target
from gitops.trust import shown

# Where kube-prometheus-stack puts it.
_SERVICE, _PORT = "monitoring-kube-prometheus-prometheus", 9090
_SECONDS = 20.0


class Sample(Struct, frozen=True):
    """One series and its value."""

    labels: dict[str, str]
    value: float


class Alert(Struct, frozen=True, rename="camel"):
    """An alert, as Prometheus has it: since when its condition holds, and whether it fires by now."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    active_at: datetime


class _Series(Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]


class _Vector(Struct, frozen=True):
    result: list[_Series]


class _Alerts(Struct, frozen=True):
    alerts: list[Alert]


class _Answer(Struct, frozen=True):
    status: str
    data: _Vector | None = None
    error: str = ""


class _AlertsAnswer(Struct, frozen=True):
    status: str
    data: _Alerts | None = None
    error: str = ""


_A = TypeVar("_A", _Answer, _AlertsAnswer)


class Prometheus:
    """One Prometheus."""

    def __init__(self, client: httpx.Client) -> None:
        """Take a client whose base is its address."""
        self._client = client

    def query(self, expression: str) -> list[Sample]:
        """What an expression, a vector, is now; without what is not a number.

        Raises:
            OutageError: It does not answer, or with something else.
        """
        found = self._asked("api/v1/query", {"query": expression}, _Answer)
        series = found.data.result if found.data else []
        samples = [Sample(entry.metric, float(entry.value[1])) for entry in series]
        return [sample for sample in samples if math.isfinite(sample.value)]

    def alerts(self) -> list[Alert]:
        """Return every alert whose condition holds now, pending ones too.

        Raises:
            OutageError: It does not answer, or with something else.
        """
        found = self._asked("api/v1/alerts", {}, _AlertsAnswer)
        return found.data.alerts if found.data else []

    def _asked(self, path: str, parameters: dict[str, str], kind: type[_A]) -> _A:
        where = shown(str(self._client.base_url))
        try:
            answer = self._client.get(path, params=parameters)
            found = msgspec.json.decode(answer.content, type=kind)
        except httpx.HTTPError as error:
            raise OutageError(f"Prometheus at {where} does not answer: {error or type(error).__name__}.") from None
        except msgspec.MsgspecError as error:
            raise OutageError(
                f"The server at {where} is not Prometheus ({answer.status_code}, {error}): check its address."
            ) from None
        if found.data is None:
            raise OutageError(f"Prometheus at {where} refuses the query: {found.error or found.status}.")
        return found

    def value(self, expression: str) -> float | None:
        """The value of an expression that has at most one; None where it has none."""
        found = self.query(expression)
        return found[0].value if found else None


@contextlib.contextmanager
def prometheus_of(platform: Platform, target: Target, cluster: Cluster) -> Iterator[Prometheus]:
    """The Prometheus that watches a target: that of its cluster in platform.yaml, or the one in Argo CD's cluster.

    Args:
        platform: The facts of the fork.
        target: The service in its environment.
        cluster: The cluster of Argo CD, by a port-forward unless it was told an address of its Prometheus.

    Raises:
        OutageError: It cannot be reached, or platform.yaml does not say where it is.
    """
    with contextlib.ExitStack() as stack:
        elsewhere = target.environment.cluster
        url = platform.cluster_of(target.environment).prometheus if elsewhere else cluster.prometheus
        if elsewhere and not url:
            raise OutageError(f"platform.yaml does not say where Prometheus is: clusters.{elsewhere}.prometheus.")
        where = url or stack.enter_context(cluster.forwarded(MONITORING, _SERVICE, _PORT))
        try:
            client = httpx.Client(base_url=where, timeout=_SECONDS, follow_redirects=False)
        except httpx.InvalidURL as error:
            raise OutageError(f"{shown(where)!r} is not an address of Prometheus: {error}.") from None
        yield Prometheus(stack.enter_context(client))


class Prometheuses:
    """The way to each Prometheus that is asked, found once: a port-forward takes longer than all the questions."""

    def __init__(self, platform: Platform, cluster: Cluster) -> None:
        """Take the facts of the fork and the cluster of Argo CD; nothing is reached before it is asked for."""
        self._platform, self._cluster = platform, cluster
        self._stack = contextlib.ExitStack()
        self._ways: dict[str, Prometheus | OutageError] = {}

    def __enter__(self) -> Self:
        """Begin; what is reached inside the block stays open until its end."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close every way."""
        self._stack.close()

    def of(self, target: Target) -> Prometheus:
        """Return the one that watches a target.

        Raises:
            OutageError: It cannot be reached, or platform.yaml does not say where it is; also when asked again.
        """
        where = target.environment.cluster
        if where not in self._ways:
            try:
                self._ways[where] = self._stack.enter_context(prometheus_of(self._platform, target, self._cluster))
            except OutageError as error:
                self._ways[where] = error
        way = self._ways[where]
        if isinstance(way, OutageError):
            raise way
        return way
