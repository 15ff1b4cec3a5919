"""Queries to the Prometheus that scrapes an environment."""

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

# The names that kube-prometheus-stack uses.
_SERVICE, _PORT = "monitoring-kube-prometheus-prometheus", 9090
_SECONDS = 20.0


class Sample(Struct, frozen=True):
    """A series and its value."""

    labels: dict[str, str]
    value: float


class Alert(Struct, frozen=True, rename="camel"):
    """An alert of Prometheus: since when its condition holds, and whether it fires."""

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
    """A client of one Prometheus."""

    def __init__(self, client: httpx.Client) -> None:
        """Take an HTTP client whose base URL is the address of the server."""
        self._client = client

    def query(self, expression: str) -> list[Sample]:
        """Return the current value of an expression of type vector, without values that are not numbers.

        Raises:
            OutageError: It does not answer, or not with a vector.
        """
        found = self._asked("api/v1/query", {"query": expression}, _Answer)
        series = found.data.result if found.data else []
        samples = [Sample(entry.metric, float(entry.value[1])) for entry in series]
        return [sample for sample in samples if math.isfinite(sample.value)]

    def alerts(self) -> list[Alert]:
        """Return every alert whose condition holds now, pending ones too.

        Raises:
            OutageError: It does not answer, or not with alerts.
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
        """Return the value of an expression with at most one series; None if it has none."""
        found = self.query(expression)
        return found[0].value if found else None


@contextlib.contextmanager
def prometheus_of(platform: Platform, target: Target, cluster: Cluster) -> Iterator[Prometheus]:
    """Yield the Prometheus of a target: that of its cluster in platform.yaml, or the one in Argo CD's cluster.

    Args:
        platform: The content of platform.yaml.
        target: The service in its environment.
        cluster: Argo CD's cluster, reached by a port-forward unless it has an address for its Prometheus.

    Raises:
        OutageError: It cannot be reached, or platform.yaml has no address for it.
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
    """Connections to several Prometheus servers, each opened once: a port-forward takes longer than all the queries."""

    def __init__(self, platform: Platform, cluster: Cluster) -> None:
        """Take platform.yaml and Argo CD's cluster; connections are opened at first use."""
        self._platform, self._cluster = platform, cluster
        self._stack = contextlib.ExitStack()
        self._ways: dict[str, Prometheus | OutageError] = {}

    def __enter__(self) -> Self:
        """Enter the block in which the connections stay open."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close all connections."""
        self._stack.close()

    def of(self, target: Target) -> Prometheus:
        """Return the Prometheus of a target.

        Raises:
            OutageError: It cannot be reached, or platform.yaml has no address for it; a second call fails in the same
                way.
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
