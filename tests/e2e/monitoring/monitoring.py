"""A cluster's Prometheus and Alertmanager, as the Prometheus operator runs them, and queries to both."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import httpx
import msgspec

from tests.e2e.kube import Kube, Manifest
from tests.observability.promtool import Prometheus

NAMESPACE = "monitoring"
"""The namespace where the charts' network policies expect Prometheus."""

_SELECTORS = ("serviceMonitorSelector", "serviceMonitorNamespaceSelector", "ruleSelector", "ruleNamespaceSelector")
_GROUP = "monitoring.coreos.com"


class Target(msgspec.Struct, frozen=True, rename="camel"):
    """An address that Prometheus scrapes. The pool is named after its ServiceMonitor."""

    scrape_pool: str
    scrape_url: str
    health: str
    last_error: str


class RuleState(msgspec.Struct, frozen=True, rename="camel"):
    """The health of a rule: `ok`, `err`, or `unknown` before its first evaluation."""

    name: str
    health: str
    last_error: str = ""


class RuleGroup(msgspec.Struct, frozen=True, rename="camel"):
    """A loaded group of rules. `file` contains namespace and name of the PrometheusRule."""

    name: str
    file: str
    rules: list[RuleState]


class Alert(msgspec.Struct, frozen=True):
    """An alert in Alertmanager."""

    labels: dict[str, str]

    @property
    def name(self) -> str:
        """Return the name of the rule."""
        return self.labels["alertname"]

    @property
    def severity(self) -> str:
        """Return the severity. It is `critical` if callers are affected."""
        return self.labels["severity"]


class WatchingPrometheus(Prometheus):
    """A Prometheus with queries for its targets and rules."""

    def targets(self) -> list[Target]:
        """Return its present targets."""
        return msgspec.convert(self._get("/targets", state="active")["activeTargets"], list[Target])

    def groups(self) -> list[RuleGroup]:
        """Return its groups of rules."""
        return msgspec.convert(self._get("/rules")["groups"], list[RuleGroup])


class Monitoring(msgspec.Struct, frozen=True):
    """Both servers, by the names of the operator's objects."""

    kube: Kube
    prometheus: str
    alertmanager: str

    @contextlib.contextmanager
    def asked(self) -> Iterator[WatchingPrometheus]:
        """Yield a client of Prometheus, until the block ends."""
        with (
            self.kube.forwarded(NAMESPACE, f"pod/prometheus-{self.prometheus}-0", 9090) as url,
            WatchingPrometheus(url) as prometheus,
        ):
            yield prometheus

    @contextlib.contextmanager
    def alerted(self) -> Iterator["Alerts"]:
        """Yield a client of Alertmanager, until the block ends."""
        with (
            self.kube.forwarded(NAMESPACE, f"pod/alertmanager-{self.alertmanager}-0", 9093) as url,
            httpx.Client(base_url=f"{url}/api/v2", timeout=30.0, trust_env=False) as client,
        ):
            yield Alerts(client)


class Alerts:
    """Queries to an Alertmanager."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def firing(self, namespaces: Collection[str]) -> list[Alert]:
        """Return the active alerts about these namespaces."""
        answer = self._client.get("/alerts").raise_for_status()
        alerts = msgspec.json.decode(answer.content, type=list[Alert])
        return [alert for alert in alerts if alert.labels.get("namespace") in namespaces]


def find_monitoring(kube: Kube) -> Monitoring | str:
    """Find a Prometheus that selects every monitor and rule, and an Alertmanager. Otherwise return what is missing."""
    kinds = kube.run("api-resources", f"--api-group={_GROUP}", "-o", "name")
    if f"prometheuses.{_GROUP}" not in kinds:
        return (
            "The cluster has no Prometheus operator: install kube-prometheus-stack with envs/platform/monitoring.yaml."
        )
    found = [entry for entry in kube.items(NAMESPACE, f"prometheuses.{_GROUP}") if _takes_everything(entry)]
    alertmanagers = kube.items(NAMESPACE, f"alertmanagers.{_GROUP}")
    if not found or not alertmanagers:
        return (
            f"The namespace {NAMESPACE} has no Prometheus that takes every ServiceMonitor and PrometheusRule of every "
            "namespace, or no Alertmanager: install kube-prometheus-stack with envs/platform/monitoring.yaml."
        )
    return Monitoring(kube, _name(found[0]), _name(alertmanagers[0]))


def _takes_everything(prometheus: Manifest) -> bool:
    """Return whether every selector is set and empty. A selector that is not set selects nothing."""
    spec: dict[str, Any] = prometheus["spec"]
    return all(spec.get(selector) == {} for selector in _SELECTORS)


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])
