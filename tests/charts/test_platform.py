"""The charts fit together: addresses, network policies on both sides, and two cores for all pods."""

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from tests.support import helm, policy
from tests.support.manifests import Manifest, PodTemplate, metadata, parse, pod_template, selects

# By chart, a port that Prometheus may use too.
SCRAPED = [("minio", 9002), ("mlflow", 9090), ("model-serving", 9090)]

# The CPU that a small cluster has left for the pipeline, next to Argo CD and Prometheus.
CORES_FOR_THE_PIPELINE = Decimal("1.3")
PLATFORM = "ml-pipeline"
CALLED_BY_SERVING = ("mlflow", "minio")
SERVED_NAMESPACES = Path(__file__).parent / "served-namespaces.yaml"


# A serving release that is pinned to files in the store and moves an alias, as git pins all releases.
PINNED = "model-serving, pinned"


@cache
def release(name: str) -> list[Manifest]:
    chart, _, wanted = name.partition(", ")
    scenario = next(path for path in helm.scenarios(chart) if wanted in path.stem)
    derived = [SERVED_NAMESPACES] if chart in CALLED_BY_SERVING else []
    outcome = helm.template(chart, scenario, *derived)
    assert outcome.code == 0, outcome.errors
    return parse(outcome.output)


def pods(chart: str) -> Iterator[PodTemplate]:
    return (pod for pod in map(pod_template, release(chart)) if pod)


@pytest.mark.parametrize(("chart", "port"), [("mlflow", 5000), ("minio", 9000), ("postgres", 5432)])
def test_a_part_is_found_at_its_address(chart: str, port: int) -> None:
    services = {m["metadata"]["name"]: m for m in release(chart) if m["kind"] == "Service"}
    assert port in [entry["port"] for entry in services[chart]["spec"]["ports"]]


def cpu(quantity: str) -> Decimal:
    return Decimal(quantity.removesuffix("m")) / 1000 if quantity.endswith("m") else Decimal(quantity)


def requested(pod: PodTemplate) -> Decimal:
    sidecars = [c for c in pod.spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
    return sum((cpu(str(c["resources"]["requests"]["cpu"])) for c in [*pod.spec["containers"], *sidecars]), Decimal(0))


def test_all_pods_request_less_than_two_cores() -> None:
    """Count production with five replicas and a surge, staging with two and a surge, and one pod of everything else."""
    (serving,) = (requested(pod) for pod in pods("model-serving") if pod.long_running)
    others = [
        requested(pod) for chart in helm.charts() if chart != "model-serving" for pod in pods(chart) if pod.long_running
    ]
    assert serving * (5 + 1) + serving * (2 + 1) + sum(others) <= CORES_FOR_THE_PIPELINE


# caller's chart and component, callee's chart, port
CONNECTIONS = [
    ("model-serving", "server", "mlflow", 5000),
    ("model-serving", "server", "minio", 9000),
    (PINNED, "server", "minio", 9000),
    (PINNED, "smoke", "mlflow", 5000),
    ("mlflow", "server", "postgres", 5432),
    ("mlflow", "server", "minio", 9000),
    ("mlflow", "migration", "postgres", 5432),
    ("mlflow", "gc", "postgres", 5432),
    ("mlflow", "gc", "minio", 9000),
    ("mlflow", "test", "mlflow", 5000),
    ("training", "training", "mlflow", 5000),
    ("training", "training", "minio", 9000),
    ("postgres", "backup", "minio", 9000),
    ("postgres", "backup", "postgres", 5432),
]


@pytest.mark.parametrize(("caller", "component", "callee", "port"), CONNECTIONS)
def test_policies_of_both_sides_let_a_caller_through(caller: str, component: str, callee: str, port: int) -> None:
    namespace = namespace_of(caller)
    source = pod_of(caller, component)
    target = next(pod for pod in pods(callee) if pod.long_running)
    assert allowed(caller, source, "egress", target.labels, port, PLATFORM, own=namespace)
    assert allowed(callee, target, "ingress", source.labels, port, namespace, own=PLATFORM)


# Pods that neither side lets through to MLflow, although their own policy may allow other destinations.
KEPT_FROM_MLFLOW = [
    (PINNED, "server"),
    ("minio", "server"),
    ("postgres", "server"),
    ("postgres", "backup"),
    ("mlflow", "gc"),
]


@pytest.mark.parametrize(("caller", "component"), KEPT_FROM_MLFLOW)
def test_policies_keep_pods_that_do_not_use_mlflow_from_it(caller: str, component: str) -> None:
    source, target = pod_of(caller, component), pod_of("mlflow", "server")
    assert not allowed("mlflow", target, "ingress", source.labels, 5000, namespace_of(caller), own=PLATFORM)
    if caller != "mlflow":  # one policy is for all of its Jobs, including its test
        assert not allowed(caller, source, "egress", target.labels, 5000, PLATFORM, own=namespace_of(caller))


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_policies_keep_monitoring_from_mlflows_api(name: str) -> None:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "ml-pipeline"}
    assert not allowed("mlflow", pod_of("mlflow", "server"), "ingress", labels, 5000, "monitoring", own=PLATFORM)


def namespace_of(caller: str) -> str:
    chart = caller.partition(",")[0]
    return helm.RELEASES.get(chart, (chart, PLATFORM))[1]


def pod_of(name: str, component: str) -> PodTemplate:
    return next(pod for pod in pods(name) if pod.labels["app.kubernetes.io/component"] == component)


def test_policies_keep_serving_from_the_database() -> None:
    source = next(pod for pod in pods("model-serving") if pod.long_running)
    target = next(pod for pod in pods("postgres") if pod.long_running)
    assert not allowed("model-serving", source, "egress", target.labels, 5432, PLATFORM, own="ml-pipeline-staging")
    assert not allowed("postgres", target, "ingress", source.labels, 5432, "ml-pipeline-staging", own=PLATFORM)


def allowed(
    chart: str, pod: PodTemplate, direction: str, peer: dict[str, str], port: int, namespace: str, *, own: str
) -> bool:
    """Return whether the chart's policies allow traffic between `pod` in `own` and a pod with these labels."""
    policies = [m["spec"] for m in release(chart) if m["kind"] == "NetworkPolicy"]
    mine = [spec for spec in policies if selects(spec["podSelector"], pod.labels)]
    assert mine, f"no policy of {chart} selects {pod.owner}"
    rules = [rule for spec in mine for rule in spec.get(direction) or []]
    return any(_rule_allows(rule, direction, peer, port, namespace, own) for rule in rules)


def _rule_allows(rule: Manifest, direction: str, peer: dict[str, str], port: int, namespace: str, own: str) -> bool:
    if rule.get("ports") and port not in [entry.get("port") for entry in rule["ports"]]:
        return False
    listed = rule.get("from" if direction == "ingress" else "to") or []
    return not listed or any(_peer_matches(entry, peer, namespace, own) for entry in listed)


def _peer_matches(entry: Manifest, peer: dict[str, str], namespace: str, own: str) -> bool:
    if "ipBlock" in entry:
        return False
    if "namespaceSelector" in entry:
        there = selects(entry["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        there = namespace == own
    return there and selects(entry.get("podSelector") or {}, peer)


def test_every_object_says_that_it_is_part_of_the_pipeline() -> None:
    parts = {metadata(m, "labels").get("app.kubernetes.io/part-of") for chart in helm.charts() for m in release(chart)}
    assert parts == {"ml-pipeline"}


@pytest.mark.parametrize(("chart", "port"), SCRAPED)
def test_only_prometheus_of_the_monitoring_namespace_gets_in(chart: str, port: int, tmp_path: Path) -> None:
    """The test uses the API's port in some charts: for example, Grafana must not reach it."""
    (tmp_path / "values.yaml").write_text("serviceMonitor: {enabled: true}\n")
    outcome = helm.template(chart, helm.scenarios(chart)[0], tmp_path / "values.yaml")
    assert outcome.code == 0, outcome.errors
    name, component = "app.kubernetes.io/name", "app.kubernetes.io/component"
    policies = [m for m in parse(outcome.output) if m["kind"] == "NetworkPolicy"]
    (guard,) = (m for m in policies if m["spec"]["podSelector"].get("matchLabels", {}).get(component) == "server")
    assert policy.lets_in(guard, PLATFORM, "monitoring", {name: "prometheus"}, port)
    assert not policy.lets_in(guard, PLATFORM, "monitoring", {name: "grafana"}, port)
    assert not policy.lets_in(guard, PLATFORM, "monitoring", {}, port)
    assert not policy.lets_in(guard, PLATFORM, "elsewhere", {name: "prometheus"}, port)
