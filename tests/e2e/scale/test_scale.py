"""Measure the throughput of one to five pods, and how the autoscaler goes from two to five under load.

Each pod may use little CPU, so that five of them and the load generator fit a small machine. The curve shows how
throughput grows with pods, not the maximum of a pod.
"""

import time
from typing import Any

from bench.scale import CONNECTIONS, CONNECTIONS_PER_POD, MOST_PODS, POD_CORES, Moment, Point, Scale
from tests.e2e.charts.stack import Stack
from tests.e2e.helm import Release
from tests.e2e.report import Report
from tests.e2e.scale.generator import Generator

_ROUNDS = 3
_SECONDS = 8.0
_SLICE_SECONDS = 10.0
_SLICES = 18
_REPORTED_AFTER = 90


def test_throughput_grows_with_pods(platform: Stack, generator: Generator, scale: Scale, report: Report) -> None:
    for pods in range(1, MOST_PODS + 1):
        platform.helm.install(_release(platform, {"autoscaling": {"enabled": False}, "replicaCount": pods}))
        _wait(platform, pods)
        connections = pods * CONNECTIONS_PER_POD
        generator.send(connections=connections, seconds=2)
        rounds = [generator.send(connections=connections, seconds=_SECONDS) for _ in range(_ROUNDS)]
        gentle = generator.send(connections=16, seconds=_SECONDS, rate=100)
        scale.points.append(
            Point(pods, [round(one.rate, 1) for one in rounds], [one.p99_ms for one in rounds], gentle.p99_ms)
        )
        report.add("Throughput", f"- {pods} pods: {scale.points[-1]}")

    first, last = scale.points[0], scale.points[-1]
    assert last.rate > first.rate * MOST_PODS / 2


def test_the_autoscaler_brings_five_pods(platform: Stack, generator: Generator, scale: Scale, report: Report) -> None:
    autoscaling = {"enabled": True, "minReplicas": 2, "maxReplicas": MOST_PODS, "targetCPU": f"{POD_CORES * 600:.0f}m"}
    platform.helm.install(_release(platform, {"autoscaling": autoscaling}))
    _wait(platform, 2)
    platform.kube.wait(
        "the autoscaler knows the load",
        lambda: platform.kube.get(platform.serving, "hpa", "serving")["status"].get("currentMetrics"),
        seconds=_REPORTED_AFTER,
        namespace=platform.serving,
    )
    begun = time.monotonic()

    while len(scale.moments) < _SLICES:
        pods = platform.ready_pods()
        at = time.monotonic() - begun
        measured = generator.send(connections=CONNECTIONS, seconds=_SLICE_SECONDS)
        scale.moments.append(Moment(round(at, 1), pods, round(measured.rate, 1), measured.p99_ms))
        report.add("With the autoscaler", f"- {scale.moments[-1]}")

    assert scale.moments[0].pods == 2
    assert max(moment.pods for moment in scale.moments) == MOST_PODS


def _release(stack: Stack, values: dict[str, Any]) -> Release:
    cores = f"{POD_CORES * 1000:.0f}m"
    resources = {"requests": {"cpu": "20m", "memory": "160Mi"}, "limits": {"cpu": cores, "memory": "512Mi"}}
    calm = {"smoke": {"enabled": False}, "rollout": {"progressDeadlineSeconds": 120}, "resources": resources}
    return stack.serving_release(stack.registry().version("1").pins, {**calm, **values})


def _wait(stack: Stack, pods: int) -> None:
    """Wait until exactly this many pods are ready and receive requests from the Service."""

    def settled() -> bool:
        return len(stack.serving_pods()) == pods == stack.ready_pods()

    stack.kube.wait(f"{pods} pods run", settled, seconds=180, namespace=stack.serving, names=("serving",))
