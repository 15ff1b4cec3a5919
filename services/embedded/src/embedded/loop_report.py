"""The report of the closed loop: one HTML page without remote content, with a chart of the share of right answers."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from embedded.loop_traffic import Answered

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 900, 300, 48, 24, 44
_LOWEST = 0.5
# This many requests are one point of the chart, because single requests vary too much.
_TOGETHER = 2
_STYLE = Path(__file__).with_name("loop.css")


class Act(msgspec.Struct, frozen=True):
    """A part of the story: its name, and its requests."""

    name: str
    requests: Sequence[Answered]

    @property
    def right(self) -> float:
        """The share of right answers."""
        return sum(each.right for each in self.requests) / len(self.requests)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The results of the loop: its acts, the outputs of `training outcomes`, `due` and `run`, and the first release."""

    acts: Sequence[Act]
    before: Any
    late: Any
    known: Any
    due: Any
    second: Any
    first: str


def page(report: Report, seconds: int) -> str:
    """Return the page.

    Args:
        report: The results.
        seconds: The duration of the loop.
    """
    checks = report.second["gate"]["checks"]
    champion = [check for check in checks if check["name"].startswith("champion")]
    bound = _current(report.known)["gate"].get("accuracy", {}).get("value")
    usual, dry, after = report.acts
    release = report.second["release"]
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>The closed loop</title><style>{_STYLE.read_text(encoding="utf-8")}</style>
<h1>A model went wrong, and somebody noticed</h1>
<p class="dim">predict, log, join the late truth, notice, find the reason, train again: {
        seconds
    } seconds on one machine</p>
{_picture(report.acts, bound, report.first, release)}
<div class="cards">
<section><h2>A usual summer</h2><div class="big good">{usual.right:.1%}</div>of the answers of {
        escape(report.first)
    } were
right. On held-out rows it was {_held_out(report.known)}.</section>
<section><h2>A dry summer</h2><div class="big bad">{
        dry.right:.1%}</div>Sepals a fifth longer, petals a fifth shorter: not
what the model learnt from.</section>
<section><h2>The new version</h2><div class="big good">{after.right:.1%}</div>of the answers of {
        escape(release)
    } to flowers
of the same dry summer.</section>
</div>
<section class="wide"><h2>What showed it, most trusted first</h2>{_seen(report)}</section>
<section class="wide"><h2>Why it was trained: <code>training due</code></h2>
{
        _table(
            ("question", "answer", "why"),
            [[each[key] for key in ("question", "answer", "says")] for each in report.due["findings"]],
        )
    }</section>
<section class="wide"><h2>The gate, on held-out rows of the log</h2>
{_table(("check", "figure", "bound", "verdict", ""), [_check(each) for each in champion])}
<p class="dim">and {len(checks) - len(champion)} other checks, which all passed.</p></section>
</html>
"""


def _seen(report: Report) -> str:
    late, known = _current(report.late), _current(report.known)
    before = _current(report.before)
    rows = [
        ["realised, when the truth is known", _realised(before), _realised(known)],
        ["estimated from confidences, before that", _estimated(before), _estimated(late)],
        ["drift of the inputs, at once", "-", _drift(report.due)],
    ]
    return _table(("accuracy of all rows so far", "usual summer", "with the dry summer"), rows)


def _drift(due: Any) -> str:
    said = " ".join(each["says"] for each in due["findings"] if each["question"] == "alerts")
    return said[said.find("ModelInputDrift") :] if "ModelInputDrift" in said else "none"


def _current(outcomes: Any) -> Any:
    return next(each for each in outcomes["versions"] if each["current"])


def _realised(version: Any) -> str:
    found = (version["realised"] or {}).get("metrics", {}).get("accuracy")
    return f"{found['value']:.3f} ({found['lower']:.3f} to {found['upper']:.3f})" if found else "not known"


def _estimated(version: Any) -> str:
    found = version["estimated"]
    return f"{found['accuracy']['value']:.3f}" if found else "not known"


def _held_out(outcomes: Any) -> str:
    found = _current(outcomes)["held_out"].get("accuracy")
    return f"{found:.1%}" if found is not None else "not known"


def _check(check: Any) -> list[str]:
    figure = "" if check["figure"] is None else f"{check['figure']:.4g}"
    bound = "" if check["bound"] is None else f"{check['relation']} {check['bound']:.4g}"
    return [check["name"], figure, bound, "passed" if check["passed"] else "FAILED", check["detail"]]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _picture(acts: Sequence[Act], bound: float | None, first: str, second: str) -> str:
    """Draw right answers and confidence, point by point, with the gate's bound and the acts."""
    points = [(act, act.requests[at : at + _TOGETHER]) for act in acts for at in range(0, len(act.requests), _TOGETHER)]
    step = (_WIDTH - _LEFT - 10) / max(1, len(points) - 1)
    right = [_mean([each.right for each in some]) for _, some in points]
    sure = [_mean([each.sure for each in some]) for _, some in points]
    parts, at = [], 0
    for act in acts:
        count = -(-len(act.requests) // _TOGETHER)
        x = _LEFT + at * step
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="var(--line)"/>')
        parts.append(f'<text x="{x + 6:.1f}" y="{_HEIGHT - 22}">{escape(act.name)}</text>')
        who = second if act is acts[-1] else first
        parts.append(f'<text x="{x + 6:.1f}" y="{_HEIGHT - 6}">{escape(who)} answers</text>')
        at += count
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts.append(f'<text x="6" y="{_y(share) + 4:.1f}">{share:.0%}</text>')
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" stroke="var(--line)"/>'
        )
    if bound is not None:
        y = _y(bound)
        parts.append(_level(y, 'var(--bad)" stroke-dasharray="6 5'))
        parts.append(f'<text x="{_LEFT + 6}" y="{y + 16:.1f}">threshold of the gate: {bound:.0%}</text>')
    for values, colour in ((sure, "--sure"), (right, "--right")):
        line = " ".join(f"{_LEFT + at * step:.1f},{_y(value):.1f}" for at, value in enumerate(values))
        parts.append(f'<polyline points="{line}" fill="none" stroke="var({colour})" stroke-width="2.5"/>')
    named = (("right answers", "--right"), ("mean confidence", "--sure"))
    key = ", ".join(f'<tspan style="fill:var({colour})">{name}</tspan>' for name, colour in named)
    parts.append(f'<text x="{_LEFT}" y="14">{key}</text>')
    shown = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Right answers over time">{shown}</svg>'


def _level(y: float, stroke: str) -> str:
    return f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{stroke}"/>'


def _y(share: float) -> float:
    low = max(_LOWEST, min(1.0, share))
    return _TOP + (1.0 - low) / (1.0 - _LOWEST) * (_HEIGHT - _TOP - _BOTTOM)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
