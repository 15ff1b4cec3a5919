"""Series of shadows in production, made up, in the store of a real Prometheus."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from embedded.monitoring import DATA
from embedded.processes import Server
from services.gitops.tests.conftest import ROOT
from tests.observability.promtool import prometheus_server, promtool

STEP, STEPS = 60, 60
"""The series cover the last hour, with a sample every minute."""
PODS = ("iris-a", "iris-b")
# 12,431 rows in both pods together, of which 162 differ. A class may have any name.
PAIRS = {
    ("setosa", "setosa"): 4269,
    ("versicolor", "versicolor"): 4000,
    ("virginica", "virginica"): 4000,
    ("versicolor", "virginica"): 120,
    ("virginica", "versicolor"): 40,
    ("setosa", "a|b"): 2,
}


class Made(Struct, frozen=True):
    """A series and its final value; a gauge has this value all the time."""

    name: str
    labels: dict[str, str]
    total: float
    gauge: bool = False
    restarts: bool = False
    """Whether the counter restarts half-way, so that it reaches half of the total twice."""
    earlier: bool = False
    """Whether the series is older, and ended when the newest pins were deployed."""

    def samples(self, end: int) -> Iterator[str]:
        """Yield lines of OpenMetrics, the oldest first; a counter begins above 0."""
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        for step in range(1, STEPS + 1):
            moment = end - STEP * (STEPS - step) - (7200 if self.earlier else 0)
            value = self.total if self.gauge else round(self.total * self._grown(step))
            yield f"{self.name}{{{labels}}} {value} {moment}"

    def _grown(self, step: int) -> float:
        if self.restarts:
            return (step if step <= STEPS / 2 else step - STEPS / 2) / STEPS
        return step / STEPS


def _made(name: str, total: float, pod: str, **others: str) -> Made:
    where = {"namespace": "ml-pipeline-production", "job": "iris", "pod": pod}
    return Made(name, {**where, **others}, total, gauge=name in ("serving_shadow_psi", "serving_shadow_ready"))


def _shadow(version: str, name: str, total: float, pod: str, **others: str) -> Made:
    return _made(f"serving_shadow_{name}", total, pod, shadow=version, **others)


def _histogram(name: str, bounds: dict[str, float], pod: str, **others: str) -> list[Made]:
    return [_made(f"{name}_bucket", total, pod, le=bound, **others) for bound, total in bounds.items()]


def series() -> list[Made]:
    """Return the series of three shadows: 2 is a usual one, the pod of 3 restarted, and 4 fails for some rows."""
    made = []
    for number, pod in enumerate(PODS):
        for (answer, shadow_answer), rows in PAIRS.items():
            half = rows // 2 + (rows % 2 if number == 0 else 0)
            pair = {"answer": answer, "shadow_answer": shadow_answer}
            made.append(_shadow("2", "answers_total", half, pod, **pair))
        outcomes = {"agreed": 6135 - number, "differed": 81, "failed": 0, "dropped": 30 - 3 * number}
        made += [_shadow("2", "rows_total", n, pod, outcome=name) for name, n in outcomes.items()]
        made.append(_shadow("2", "psi", 0.02 + 0.011 * number, pod))
        made.append(_shadow("2", "ready", 1, pod))
        two = {"0.001": 100.0, "0.01": 200.0, "+Inf": 200.0}
        made += _histogram("serving_shadow_inference_seconds", two, pod, shadow="2")
        made += _histogram("serving_inference_seconds", {"0.001": 400, "+Inf": 400}, pod, runtime="onnx")
        made += _histogram("serving_shadow_difference", {"0.01": 100, "0.1": 190, "+Inf": 200}, pod, shadow="2")
    # Series of staging, of another service, and of a pod with earlier pins, none of which count for production now.
    strangers = [({"namespace": "ml-pipeline-staging"}, False), ({"job": "wine"}, False), ({"pod": "iris-old"}, True)]
    for others, earlier in strangers:
        one = _shadow("2", "rows_total", 70_000, "iris-x", outcome="differed")
        made.append(Made(one.name, {**one.labels, **others}, one.total, earlier=earlier))
    again = _shadow("3", "rows_total", 2000, PODS[0], outcome="agreed")
    made.append(Made(again.name, again.labels, again.total, restarts=True))
    failing = {"agreed": 900, "failed": 100}
    made += [_shadow("4", "rows_total", n, PODS[0], outcome=name) for name, n in failing.items()]
    return made


def prometheus(folder: Path) -> Server:
    """Describe a Prometheus with the series in its store, which scrapes nothing."""
    subprocess.run([ROOT / "tools" / "install", "prometheus"], check=True, capture_output=True, timeout=900)
    end, made = int(time.time()) - 30, sorted(series(), key=lambda one: one.name)
    lines, before = [], ""
    for one in made:
        family = one.name.removesuffix("_total").removesuffix("_bucket")
        if family != before:
            kind = "gauge" if one.gauge else "histogram" if one.name.endswith("_bucket") else "counter"
            lines.append(f"# TYPE {family} {kind}")
            before = family
        lines += one.samples(end)
    file = folder / "series.txt"
    file.write_text("\n".join([*lines, "# EOF", ""]))
    done = promtool("tsdb", "create-blocks-from", "openmetrics", file, folder / DATA)
    assert done.code == 0, done
    return prometheus_server(folder, {})
