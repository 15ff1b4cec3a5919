"""The text of a promotion's pull request."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from gitops.cluster.live import Live
from gitops.git.repository import Commit
from gitops.pins.release import Release, changes
from gitops.pins.wording import age, what_moved, words
from gitops.promotion.markdown import code, table
from gitops.promotion.readiness import Readiness
from gitops.promotion.trial import Trial, section
from gitops.rendering.diff import ObjectChange

# GitHub's API accepts 65536 characters.
_LONGEST = 60_000
_COMMITS_SHOWN = 50
_FENCE = "~" * 8


class Evidence(Struct, frozen=True, kw_only=True):
    """Everything that a reviewer can judge a promotion by.

    `source` and `target` have the form ENV/SERVICE. `before` is None for a first release. `commits` are those of the
    main branch between the two releases, the newest first. `objects` are the rendered differences, None if they could
    not be rendered; then `unrendered` says why. `trial` is None if no model changes that could be compared with an
    earlier one. `trained` is why a new model was trained, if that was recorded.
    """

    source: str
    target: str
    before: Release | None
    after: Release
    readiness: Readiness
    commits: Sequence[Commit] | None
    objects: Sequence[ObjectChange] | None
    unrendered: str = ""
    trial: Trial | None = None
    trained: str = ""


def title(evidence: Evidence) -> str:
    """Return the title of the pull request."""
    moved = what_moved(changes(evidence.before, evidence.after), evidence.after)
    return f"Promote to {evidence.target}: {moved}"


def marker(source: str, target: str) -> str:
    """Return the line in the body that identifies the source and the target."""
    return f"<!-- promotion from {source} to {target} -->"


def body(evidence: Evidence) -> str:
    """Return the body of the pull request in Markdown; if it is too long, the rendered differences are cut."""
    parts = [
        marker(evidence.source, evidence.target),
        f"Merging this gives {evidence.target} exactly the pins that {evidence.source} runs. Argo CD deploys them.",
        _pins(evidence),
        *([f"## Why it was trained\n\n{code(evidence.trained)}"] if evidence.trained else []),
        _metrics(evidence),
        _proof(evidence),
        *([section(evidence.trial, evidence.target)] if evidence.trial else []),
        _commits(evidence),
    ]
    text = "\n\n".join(parts)
    return f"{text}\n\n{_objects(evidence, _LONGEST - len(text))}\n"


def _pins(evidence: Evidence) -> str:
    moved = [
        change for change in changes(evidence.before, evidence.after) if not change.pin.startswith(("metrics", "hold"))
    ]
    rows = [[change.pin, words(change.before), words(change.after)] for change in moved]
    pins = table(("pin", f"{evidence.target} now", "after"), rows)
    return f"## Pins\n\n{pins}" if rows else "## Pins\n\nThe pins are the same; the metrics differ."


def _metrics(evidence: Evidence) -> str:
    then = evidence.before.release.metrics if evidence.before else {}
    now = evidence.after.release.metrics
    rows = []
    for name in sorted(then.keys() | now.keys()):
        old, new = then.get(name), now.get(name)
        difference = "-" if old is None or new is None else f"{new - old:+.4g}"
        rows.append([name, words(old), words(new), difference])
    if not rows:
        return "## Metrics\n\nThe pins have none."
    was = f"{evidence.before.model.name} {evidence.before.model.version}" if evidence.before else "nothing"
    columns = ("held-out data", was, f"{evidence.after.model.name} {evidence.after.model.version}", "difference")
    return f"## Metrics\n\n{table(columns, rows)}"


def _proof(evidence: Evidence) -> str:
    ready = evidence.readiness
    said = _health(ready.live) if ready.live else f"The cluster gave no information: {code(ready.problem)}"
    return f"## Proof\n\n{_since(evidence.source, ready)} {said}"


def _since(source: str, ready: Readiness) -> str:
    if ready.arrival is None:
        made = f"{ready.commit.when:%Y-%m-%d %H:%M %Z}"
        return f"It is not known since when {source} has had these pins, by {ready.commit.sha}, made on {made}."
    when, witness = ready.arrival.when, ready.arrival.witness
    passed = age(int((datetime.now(UTC) - when).total_seconds()))
    return (
        f"{source} has had these pins for {passed}: since {when:%Y-%m-%d %H:%M %Z}, {witness}, by {ready.commit.sha}."
    )


def _health(live: Live) -> str:
    answers = {
        True: "The API answers with the pinned model.",
        None: f"The API did not answer: {code(live.problem)}",
    }
    operation = f", its last sync {live.operation}" if live.operation else ""
    return f"Argo CD says {live.sync} and {live.health}{operation}. {answers.get(live.as_pinned, '')}"


def _commits(evidence: Evidence) -> str:
    heading = "## Commits in between\n\n"
    if evidence.commits is None:
        return f"{heading}{evidence.source} never ran what {evidence.target} runs now, so there is no range to show."
    lines = [
        f"- {commit.sha} {code(commit.subject)} ({code(commit.author)})" for commit in evidence.commits[:_COMMITS_SHOWN]
    ]
    if (more := len(evidence.commits) - _COMMITS_SHOWN) > 0:
        lines.append(f"- and {more} more")
    return heading + ("\n".join(lines) or "None.")


def _objects(evidence: Evidence, room: int) -> str:
    heading = "## Rendered differences\n\n"
    by_hand = f"`gitops diff {evidence.target} --pins-of {evidence.source.partition('/')[0]}`"
    if evidence.objects is None:
        return f"{heading}They could not be rendered ({code(evidence.unrendered)}): {by_hand} shows them."
    if not evidence.objects:
        return f"{heading}None."
    listed = "\n".join(f"- {entry.change}: {code(entry.object)}" for entry in evidence.objects)
    whole = "".join(entry.diff for entry in evidence.objects)
    room -= len(listed) + 500
    shown = whole[: max(0, room)]
    cut = "" if shown == whole else f"\n\nCut because it is too long: {by_hand} shows all of it."
    # No line of YAML begins with so many tildes, so the content cannot end the block.
    block = (
        f"<details><summary>{len(evidence.objects)} objects</summary>\n\n{_FENCE}diff\n{shown}\n{_FENCE}\n</details>"
    )
    return f"{heading}{listed}\n\n{block}{cut}"
