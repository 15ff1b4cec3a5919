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
    texts: dict[str, list[str]] = {}
    for name, text in rules(chart):
        texts.setdefault(name, []).append(text)
    found = [_alert(name, one) for name, one in texts.items()]
    return sorted(found, key=lambda alert: ("critical" not in alert.severities, alert.name))


def _alert(name: str, texts: list[str]) -> Alert:
    sentence = _SENTENCE.search(texts[0])
    if not sentence:
        raise ValueError(f"{name} needs a comment `# Fires when: ...` below its name")
    words = [sentence["first"], *re.sub(r"\n +#", "", sentence["rest"]).split()]
    severities = tuple(severity for text in texts for severity in _SEVERITY.findall(text))
    return Alert(name=name, severities=severities, fires_when=" ".join(words))


def rules(chart: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each alerting rule of a chart, and its text with placeholders."""
    for path in sorted((chart / "rules").glob("*.yaml")):
        for rule in _RULE.finditer(path.read_text(encoding="utf-8")):
            yield rule["name"], rule["body"]


def written(text: str, chart: Path) -> str:
    """Return docs/alerts.md with the chart's objectives and alerts."""
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
