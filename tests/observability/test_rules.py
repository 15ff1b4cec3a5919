"""promtool accepts the rules, and each alert fires, stays silent and ends as its tests say.

Each alert also has a severity, a number in its summary, and a runbook.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from gitops.cli import app
from tests.observability.content import (
    CHART,
    PATTERNS,
    ROOT,
    RULE_TESTS,
    RULES,
    THRESHOLDS,
    Rule,
    alerts,
    rules,
)
from tests.observability.promtool import promtool
from tools.derived.alerts import rules as alerting_rules
from tools.thresholds import filled, named

Key = tuple[str, str]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_are_valid(path: Path) -> None:
    outcome = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert outcome.code == 0, outcome.output + outcome.errors


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_unit_tests_pass(path: Path, tmp_path: Path) -> None:
    """Each file has the thresholds for which its moments are right, so other defaults need no other tests."""
    text = path.read_text(encoding="utf-8")
    chosen = yaml.safe_load(text).get("thresholds", {})
    assert unknown(chosen) == set(), "values.yaml of the chart has no such thresholds"
    assert needed(path) - keys(chosen) == set(), "add them to `thresholds` at the top of the file"
    thresholds = {group: {**values, **chosen.get(group, {})} for group, values in THRESHOLDS.items()}
    folder = tmp_path / "rules"
    folder.mkdir()
    for pattern in PATTERNS:
        made = filled(pattern.read_text(encoding="utf-8"), thresholds, is_json=False)
        (folder / pattern.name).write_text(made, encoding="utf-8")
    test = tmp_path / path.name
    # promtool refuses a key that it does not know.
    text = re.sub(r"(?m)^thresholds:\n(?:  .*\n)+", "", text)
    test.write_text(text.replace("../../../charts/observability/rules", str(folder)), encoding="utf-8")
    outcome = promtool("test", "rules", test)
    assert outcome.code == 0, outcome.output + outcome.errors


def keys(thresholds: Mapping[str, Mapping[str, float]]) -> set[str]:
    return {f"{group}.{name}" for group, values in thresholds.items() for name in values}


def unknown(thresholds: Mapping[str, Mapping[str, float]]) -> set[str]:
    return keys(thresholds) - keys(THRESHOLDS)


def needed(path: Path) -> set[str]:
    """Return the thresholds of the alerts that a file tests."""
    tested = {alert for alert, _ in expectations([path])}
    return {key for alert, pattern in alerting_rules(CHART) if alert in tested for key in named(pattern)}


def expectations(paths: Sequence[Path] = RULE_TESTS) -> Iterator[tuple[str, list[set[str]]]]:
    """Yield, for each test and each alert in it, the severities that fire at each point in time."""
    for path in paths:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            by_alert: defaultdict[str, list[set[str]]] = defaultdict(list)
            for expected in test.get("alert_rule_test", ()):
                severities = {alert["exp_labels"]["severity"] for alert in expected.get("exp_alerts", ())}
                by_alert[expected["alertname"]].append(severities)
            yield from by_alert.items()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule.alert}-{rule.labels['severity']}")
def test_alert_has_tests_in_which_it_fires_ends_and_stays_silent(rule: Rule) -> None:
    severity = rule.labels["severity"]
    firing = [
        [severity in severities for severities in times]
        for alertname, times in expectations()
        if alertname == rule.alert
    ]
    assert any(any(times) for times in firing), "no test in which it fires"
    assert any(True in times and not times[-1] for times in firing), "no test in which it fires and ends"
    assert any(times and not times[0] for times in firing), "no test in which it does not fire"


def test_tests_are_about_existing_alerts() -> None:
    assert {alertname for alertname, _ in expectations()} == {rule.alert for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule.alert}-{rule.labels['severity']}")
def test_alert_has_a_summary_with_a_number_a_severity_and_a_runbook(rule: Rule) -> None:
    assert rule.labels == {"severity": rule.labels["severity"]}
    assert rule.labels["severity"] in {"critical", "warning"}
    assert set(rule.annotations) == {"summary", "description", "runbook_url"}
    assert re.search(r"\$value|\d", rule.annotations["summary"]), "no number in its summary"
    assert rule.annotations["runbook_url"] == f"docs/runbooks/{rule.alert}.md"
    assert (ROOT / rule.annotations["runbook_url"]).is_file()


def test_an_alert_of_one_name_has_one_runbook_and_differs_in_severity() -> None:
    keys = [(rule.alert, rule.labels["severity"]) for rule in alerts()]
    assert len(set(keys)) == len(keys)


def test_each_recording_exists_once() -> None:
    records = [rule.record for rule in rules() if rule.record]
    assert len(set(records)) == len(records)


def burn_rates(rule: Rule) -> set[tuple[float, str, str, str]]:
    """Return factor, budget, long window and short window of each part of an alert."""
    pattern = (
        r"ratio_rate(\w+) > ([\d.]+) \* ([\d.]+)\s+and\s+\w+:\w+:ratio_rate(\w+) > ([\d.]+) \* ([\d.]+)"
        r"\s+and\s+\w+:\w+:rate(\w+) \* (\d+) > 4"
    )
    found: set[tuple[float, str, str, str]] = set()
    for long, factor, budget, short, factor_again, budget_again, counted, seconds in re.findall(pattern, rule.expr):
        assert (factor, budget, long) == (factor_again, budget_again, counted)
        assert int(seconds) == {"h": 3600, "d": 86400}[long[-1]] * int(long[:-1])
        found.add((float(factor), budget, long, short))
    return found


@pytest.mark.parametrize(
    ("alert", "threshold"), [("ServingErrorBudgetBurn", "maxFailedRatio"), ("ServingLatencyBudgetBurn", "maxSlowRatio")]
)
def test_budgets_burn_at_the_rates_and_in_the_windows_of_the_workbook(alert: str, threshold: str) -> None:
    """Table 5-8 of the SRE workbook, with the second page of the last example of chapter 5."""
    budget = str(THRESHOLDS["slo"][threshold])
    by_severity = {rule.labels["severity"]: burn_rates(rule) for rule in alerts() if rule.alert == alert}
    assert by_severity == {
        "critical": {(14.4, budget, "1h", "5m"), (6.0, budget, "6h", "30m")},
        "warning": {(3.0, budget, "1d", "2h"), (1.0, budget, "3d", "6h")},
    }


def test_recordings_differ_only_in_their_window() -> None:
    shapes: defaultdict[str, set[str]] = defaultdict(set)
    for rule in rules():
        if rule.record:
            window = rule.record.rpartition("rate")[2]
            shapes[rule.record.removesuffix(window)].add(rule.expr.replace(window, "WINDOW"))
    assert {name: len(found) for name, found in shapes.items() if len(found) > 1} == {}


def runbook_commands(path: Path) -> Iterator[list[str]]:
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```shell\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield from (line.split() for line in block.splitlines() if line.strip())


RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS} == {rule.alert for rule in alerts()}


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_runbook_says_what_to_look_at_and_what_to_do(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == ["Look", "Do"]
    assert list(runbook_commands(path))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_runbook_commands_exist(path: Path) -> None:
    for command in runbook_commands(path):
        assert command[0] in {"kubectl", "argocd", "gitops", "git", "curl", "training"}, command
        if command[0] == "gitops":
            assert command[1] in set(app), command


@pytest.mark.parametrize("path", [*RUNBOOKS, ROOT / "docs" / "alerts.md"], ids=lambda path: path.stem)
def test_links_have_targets(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
