"""The tables of objectives and alerts: each rule says in a comment when it fires, and with which thresholds."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import yaml

from tools.derived.blocks import replaced, table
from tools.thresholds import Thresholds, filled

_RULE = re.compile(r"(?ms)^      - alert: (?P<name>\w+)\n(?P<body>.*?)(?=^      - (?:alert|record): |^  - name: |\Z)")
# The sentence goes on in comments that are indented further.
_SENTENCE = re.compile(r"(?m)^ +# Fires when: (?P<first>.*)(?P<rest>(?:\n +#   .*)*)")
_SEVERITY = re.compile(r"(?m)^ +severity: (\w+)$")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert: its name, its severities, and when it fires, with placeholders for thresholds."""

    name: str
    severities: tuple[str, ...]
    fires_when: str


def alerts(chart: Path) -> list[Alert]:
    """Return the alerts of the chart's rules: critical ones first, then by name.

    Raises:
        ValueError: An alert does not say when it fires.
    """
    found: dict[str, Alert] = {}
    for name, severity, sentence in _rules(chart):
        before = found.get(name)
        severities = (*before.severities, severity) if before else (severity,)
        found[name] = Alert(name=name, severities=severities, fires_when=before.fires_when if before else sentence)
    for alert in found.values():
        if not alert.fires_when:
            raise ValueError(f"{alert.name} needs a comment `# Fires when: ...` below its name")
    return sorted(found.values(), key=lambda alert: ("critical" not in alert.severities, alert.name))


def _rules(chart: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted((chart / "rules").glob("*.yaml")):
        for rule in _RULE.finditer(path.read_text(encoding="utf-8")):
            severity, sentence = _SEVERITY.search(rule["body"]), _SENTENCE.search(rule["body"])
            words = re.sub(r"\n +#", "", sentence["rest"]).split() if sentence else []
            said = " ".join([sentence["first"], *words]) if sentence else ""
            yield rule["name"], severity[1] if severity else "", said


def written(text: str, chart: Path) -> str:
    """Return docs/observability.md with the chart's objectives and alerts."""
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    thresholds: Thresholds = values["thresholds"]
    rows = [
        (
            f"[{alert.name}](runbooks/{alert.name}.md)",
            ", ".join(sorted(alert.severities)),
            filled(alert.fires_when, thresholds, is_json=False),
        )
        for alert in alerts(chart)
    ]
    text = replaced(text, "objectives", table(("objective", "counted as bad"), _objectives(thresholds["slo"])))
    return replaced(text, "alerts", table(("alert", "severity", "fires when"), rows))


def _objectives(slo: Mapping[str, float]) -> list[tuple[str, str]]:
    failed, slow = (f"{100 - 100 * slo[name]:g} %" for name in ("maxFailedRatio", "maxSlowRatio"))
    return [
        (
            f"{failed} do not fail",
            "status 5xx; not 4xx (a mistake of the caller) and not 499 (the caller disconnected)",
        ),
        (f"{slow} are answered within {slo['slowSeconds']:g} s", "a slower answer, whatever its status"),
    ]
