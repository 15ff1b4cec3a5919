"""The network policies, tested from pods with the labels of each part: allowed destinations, allowed callers, and DNS.

All other connections are tried too, so a policy that allows too much fails here.
"""

from collections.abc import Mapping

import msgspec
import pytest

from tests.e2e.charts.stack import ASKS_MLFLOW, CLIENT, Stack
from tests.e2e.kube import together
from tests.e2e.pods import Script, running
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(240)

LISTENER_PORT = 8080


class Caller(msgspec.Struct, frozen=True):
    """A pod with its labels and namespace, and everything that it must reach."""

    name: str
    where: str
    labels: Mapping[str, str]
    reaches: frozenset[str]


def _part(app: str, instance: str, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": app,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "ml-pipeline",
    }


EVERYWHERE = frozenset({"dns", "elsewhere"})
SCRAPED = frozenset({"minio-metrics", "mlflow-metrics", "serving-metrics"})

CALLERS = [
    Caller("outsider", "outsider", {}, EVERYWHERE),
    Caller("stranger-on-platform", "platform", {}, EVERYWHERE),
    Caller("stranger-beside-serving", "serving", {}, EVERYWHERE),
    Caller("grafana", "outsider", {"app.kubernetes.io/name": "grafana"}, EVERYWHERE),
    Caller("prometheus", "outsider", {"app.kubernetes.io/name": "prometheus"}, EVERYWHERE | SCRAPED),
    Caller("client", "serving", CLIENT, EVERYWHERE | {"serving"}),
    Caller("minio", "platform", _part("minio", "minio", "server"), frozenset()),
    Caller("minio-provision", "platform", _part("minio", "minio", "provision"), frozenset({"dns", "minio"})),
    Caller("postgres", "platform", _part("postgres", "postgres", "server"), frozenset()),
    Caller("backup", "platform", _part("postgres", "postgres", "backup"), frozenset({"dns", "postgres", "minio"})),
    Caller("mlflow", "platform", _part("mlflow", "mlflow", "server"), frozenset({"dns", "postgres", "minio"})),
    Caller("mlflow-gc", "platform", _part("mlflow", "mlflow", "gc"), frozenset({"dns", "postgres", "minio"})),
    Caller(
        "training",
        "platform",
        {**_part("training", "training-iris", "training"), **ASKS_MLFLOW},
        frozenset({"dns", "mlflow", "minio"}),
    ),
    # The release is pinned to files in the store. With its label, MLflow would let it in, but its own policy does not
    # allow it.
    Caller("serving", "serving", _part("model-serving", "serving", "server"), frozenset({"dns", "minio"})),
    Caller(
        "serving-that-asks",
        "serving",
        {**_part("model-serving", "serving", "server"), **ASKS_MLFLOW},
        frozenset({"dns", "minio"}),
    ),
    Caller(
        "smoke",
        "serving",
        {**_part("model-serving", "serving", "smoke"), **ASKS_MLFLOW},
        frozenset({"dns", "mlflow", "serving"}),
    ),
]


def test_pods_reach_what_they_need_and_nothing_else(stack: Stack, report: Report) -> None:
    listener = Script("listener", stack.outsider, "listen.py", {"port": LISTENER_PORT})
    with running(stack.runner, listener):
        addresses = _addresses(stack, listener)
        outcomes = together(*(lambda caller=caller: _reached(stack, caller, addresses) for caller in CALLERS))

    names = ["dns", *addresses]
    rows = [
        (caller.name, *("yes" if outcome[name] else "-" for name in names))
        for caller, outcome in zip(CALLERS, outcomes, strict=True)
    ]
    report.table("Who reaches what", [("from", *names), *rows])
    reached = {c.name: {name for name in names if o[name]} for c, o in zip(CALLERS, outcomes, strict=True)}
    assert reached == {caller.name: caller.reaches & set(names) for caller in CALLERS}


def _addresses(stack: Stack, listener: Script) -> dict[str, tuple[str, int]]:
    """Return all addresses as IP addresses, so that a caller without DNS is tested too."""

    def service(namespace: str, name: str) -> str:
        address: str = stack.kube.get(namespace, "service", name)["spec"]["clusterIP"]
        return address

    elsewhere = stack.kube.get(stack.outsider, "pod", listener.name)["status"]["podIP"]
    # Open only for a Prometheus that scrapes it.
    scraped = {"minio-metrics": (service(stack.platform, "minio"), 9002)} if stack.monitors else {}
    return {
        "minio": (service(stack.platform, "minio"), 9000),
        **scraped,
        "console": (service(stack.platform, "minio-console"), 9001),
        "postgres": (service(stack.platform, "postgres"), 5432),
        "mlflow": (service(stack.platform, "mlflow"), 5000),
        "mlflow-metrics": (service(stack.platform, "mlflow"), 9090),
        "serving": (service(stack.serving, "serving"), 80),
        "serving-metrics": (service(stack.serving, "serving"), 9090),
        "elsewhere": (elsewhere, LISTENER_PORT),
    }


def _reached(stack: Stack, caller: Caller, addresses: Mapping[str, tuple[str, int]]) -> dict[str, bool]:
    targets = [{"name": "dns", "expected": "dns" in caller.reaches}]
    targets += [
        {"name": name, "host": host, "port": port, "expected": name in caller.reaches}
        for name, (host, port) in addresses.items()
    ]
    namespace: str = getattr(stack, caller.where)
    question = {"targets": targets, "seconds": 20}
    script = Script(f"reach-{caller.name}", namespace, "reach.py", question, caller.labels, never_ready=True)
    reached: dict[str, bool] = stack.runner.ask(script, seconds=120)
    return reached
