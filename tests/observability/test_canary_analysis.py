"""The chart's analysis of a canary: promtool evaluates it on made-up series, the chart's own conditions judge it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.promtool import promtool
from tests.support import helm
from tests.support.manifests import parse

SCENARIO = helm.CHARTS / "model-serving" / "ci" / "7-canary.yaml"
# The window has 120 seconds, and each series has a sample every five seconds.
WINDOW, STEP = 120, 5
_ROUTE = 'route="/predict", method="POST"'


@cache
def metrics() -> dict[str, dict[str, Any]]:
    """Return the metrics of the rendered AnalysisTemplate by name, with two sides called canary and stable."""
    outcome = helm.template("model-serving", SCENARIO)
    assert outcome.code == 0, outcome.errors
    templates = [entry for entry in parse(outcome.output) if entry["kind"] == "AnalysisTemplate"]
    (found,) = (entry["spec"]["metrics"] for entry in templates if len(entry["spec"]["metrics"]) > 1)
    return {metric["name"]: metric for metric in found}


def query(name: str) -> str:
    asked: str = metrics()[name]["provider"]["prometheus"]["query"]
    for side in ("canary", "stable"):
        asked = asked.replace(f"{{{{args.{side}}}}}", side)
    return asked


def judged(name: str, result: list[float]) -> str:
    """Return the phase that Argo Rollouts gives to a result, by the conditions of a metric."""

    def holds(condition: str) -> bool:
        text = condition.replace("&&", "and").replace("!(", "not (")
        return bool(eval(text, {"__builtins__": {}}, {"len": len, "result": result}))  # noqa: S307  the chart's own

    if holds(metrics()[name]["failureCondition"]):
        return "Failed"
    return "Successful" if holds(metrics()[name]["successCondition"]) else "Inconclusive"


def pod(side: str) -> str:
    """Return the labels of the series of a side's only pod."""
    where = 'namespace="ml-pipeline-staging", job="serving-staging"'
    return f'{where}, rollouts_pod_template_hash="{side}", instance="{side}"'


def counter(metric: str, side: str, labels: str, each: float) -> dict[str, str]:
    """Return a counter of a side's pod that grows by `each` every five seconds."""
    return {"series": f"{metric}{{{pod(side)}, {labels}}}", "values": f"0+{each}x100"}


def requests(side: str, good: float, bad: float = 0) -> list[dict[str, str]]:
    found = [counter("serving_requests_total", side, f'{_ROUTE}, status="200"', good)]
    return [*found, counter("serving_requests_total", side, f'{_ROUTE}, status="500"', bad)] if bad else found


def answers(side: str, **rows: float) -> list[dict[str, str]]:
    more = 'model_name="iris-classifier", model_version="7", class='
    return [counter("serving_predictions_total", side, f'{more}"{name}"', each) for name, each in rows.items()]


def times(side: str, fast: float, slow: float = 0) -> list[dict[str, str]]:
    """Return the series of requests below 5 ms, and of requests between 0.1 s and 0.25 s."""
    counted = {"0.0025": 0, "0.005": fast, "0.1": fast, "0.25": fast + slow, "+Inf": fast + slow}
    name = "serving_request_duration_seconds_bucket"
    return [
        *requests(side, fast + slow),
        *(counter(name, side, f'route="/predict", le="{bound}"', each) for bound, each in counted.items()),
    ]


def pods(side: str, *, ready: int = 1, started: str = "7x100") -> list[dict[str, str]]:
    labels = pod(side)
    return [
        {"series": f"serving_ready{{{labels}}}", "values": f"{ready}x100"},
        {"series": f"process_start_time_seconds{{{labels}}}", "values": started},
    ]


PSI_OF_OTHERS = 2 * (1 - 0.001) * 6.907755278982137


@pytest.mark.parametrize(
    ("name", "series", "result", "verdict"),
    [
        ("errors", [*requests("canary", 40), *requests("stable", 90)], [0, 0], "Successful"),
        ("errors", [*requests("canary", 48, 2), *requests("stable", 90)], [0.04, 0], "Failed"),
        # Both sides have the same errors, so the canary is not the cause.
        ("errors", [*requests("canary", 48, 2), *requests("stable", 96, 4)], [0.04, 0.04], "Successful"),
        ("errors", [*requests("canary", 1, 1), *requests("stable", 90)], [0], "Inconclusive"),
        ("errors", requests("stable", 90), [0], "Inconclusive"),
        ("errors", [], [], "Inconclusive"),
        ("latency", [*times("canary", 40), *times("stable", 90)], [0.004875, 0.004875], "Successful"),
        ("latency", [*times("canary", 20, 20), *times("stable", 90)], [0.235, 0.004875], "Failed"),
        ("latency", [*times("canary", 1), *times("stable", 90)], [0.004875], "Inconclusive"),
        (
            "answers",
            [*answers("canary", setosa=10, virginica=10), *answers("stable", setosa=30, virginica=30)],
            [0],
            "Successful",
        ),
        ("answers", [*answers("canary", virginica=20), *answers("stable", setosa=60)], [PSI_OF_OTHERS], "Failed"),
        ("answers", [*answers("canary", setosa=1), *answers("stable", setosa=60)], [], "Inconclusive"),
        ("answers", [], [], "Inconclusive"),
        # A regression has no classes.
        ("answers", [*answers("canary", **{"": 20}), *answers("stable", **{"": 60})], [0], "Successful"),
        ("pods", [*pods("canary"), *pods("stable", ready=0)], [0], "Successful"),
        ("pods", pods("canary", ready=0), [1], "Failed"),
        ("pods", pods("canary", started="7x50 9x50"), [1], "Failed"),
        ("pods", pods("stable"), [], "Inconclusive"),
    ],
)
def test_a_canary_is_judged_by_both_sides(
    name: str, series: list[dict[str, str]], result: list[float], verdict: str, tmp_path: Path
) -> None:
    sides = ["canary", "stable"] if len(result) == 2 else ["stable"]
    labels = [f'{{role="{side}"}}' for side in sides] if name in ("errors", "latency") else ["{}"]
    expected = [{"labels": label, "value": value} for label, value in zip(labels, result, strict=False)]
    tests = {
        "evaluation_interval": "5s",
        "fuzzy_compare": True,
        "tests": [
            {
                "interval": f"{STEP}s",
                "input_series": series,
                "promql_expr_test": [{"expr": query(name), "eval_time": "5m", "exp_samples": expected}],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(tests))), encoding="utf-8")
    outcome = promtool("test", "rules", file)
    assert outcome.code == 0, outcome.output + outcome.errors
    assert judged(name, result) == verdict
