"""What a candidate's answers to the target's own requests say of it, and whether that is enough."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gitops.cluster.client import Cluster
from gitops.cluster.comparison import Comparison, Quantiles, Watch, comparison
from gitops.cluster.prometheus import prometheus_of
from gitops.errors import BadInputError, GitopsError, NotWantedError
from gitops.git.repository import Commit
from gitops.git.snapshot import Snapshot
from gitops.pins.history import steps, tried_since
from gitops.pins.release import Model, Release, Shadow
from gitops.pins.wording import percent
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target
from gitops.promotion.asked import asked
from gitops.promotion.markdown import code, table

_PAIRS_SHOWN = 10
_SHIFTED = 0.2


class WorseError(NotWantedError):
    """A candidate is known to differ more than people allow."""


class Bounds(Struct, frozen=True, kw_only=True, rename="camel"):
    """What people ask of a candidate in a service's values.yaml, under `shadow`."""

    min_rows: Annotated[int, Meta(ge=0)] = 0
    max_disagreement: Annotated[float, Meta(ge=0, le=1)] = 1.0

    def __str__(self) -> str:
        """As a person would say it."""
        return f"at least {self.least:,} rows compared, and at most {self.max_disagreement:.3g} of them different"

    @property
    def least(self) -> int:
        """How many rows must be compared: one at least, for none says nothing."""
        return max(1, self.min_rows)


class Trial(Struct, frozen=True, kw_only=True):
    """What is known of a candidate in the target.

    `shadow` is None if it is not the shadow there, and `since` is the commit that pinned it next to the present
    model. `comparison` is None if there are no figures, and `problem` says why. `bounds` is None if none is set.
    """

    answering: Model
    candidate: Model
    shadow: Shadow | None = None
    since: Commit | None = None
    comparison: Comparison | None = None
    problem: str = ""
    bounds: Bounds | None = None


def trial(start: Snapshot, cluster: Cluster, target: Target, after: Release) -> Trial | None:
    """What is known of the model that would be promoted to a target; None where its model stays or is its first.

    Args:
        start: The newest files of the main branch.
        cluster: The cluster of Argo CD, by which Prometheus is reached.
        target: Where to.
        after: What it would run.

    Raises:
        BadInputError: The bounds in its values are not as they should be.
        WorseError: Bounds are set, and the candidate is beyond them.
        NotWantedError: Bounds are set, and nothing shows that they are met.
    """
    before = start.release(target)[1]
    if before is None or _content(before.model) == _content(after.model):
        return None
    found = Trial(answering=before.model, candidate=after.model, bounds=bounds_of(start, target))
    shadow = before.tried
    if shadow and shadow.is_model(after.model):
        since = tried_since(steps(start.repository, target, start.commit))
        watch = Watch(target=target, shadow=shadow, since=since.when)
        found = msgspec.structs.replace(found, shadow=shadow, since=since)
        try:
            with prometheus_of(platform_at(start), target, cluster) as prometheus:
                found = msgspec.structs.replace(found, comparison=comparison(prometheus, watch))
        except GitopsError as error:
            found = msgspec.structs.replace(found, problem=str(error).partition("\n")[0])
    if found.bounds:
        _refuse_unmet(found, target, found.bounds)
    return found


def _content(model: Model) -> tuple[str, ...]:
    """What decides how a model answers, whatever it is called."""
    return model.name, model.version, model.digest, model.uri


def bounds_of(start: Snapshot, target: Target) -> Bounds | None:
    """What people ask of a candidate; None where they ask for nothing, as the chart's own values do.

    Raises:
        BadInputError: It is not as it should be.
    """
    said = asked(start, target, "shadow")
    wanted = {name: said[name] for name in ("minRows", "maxDisagreement") if name in said}
    try:
        bounds = msgspec.convert(wanted, Bounds)
        return None if bounds == Bounds() else bounds
    except msgspec.ValidationError as error:
        raise BadInputError(f"The values of {target} under shadow: {error}.") from None


def _refuse_unmet(found: Trial, target: Target, bounds: Bounds) -> None:
    """What is not known is never enough."""
    asked = f"{target} requires {bounds} ({target.folder}/values.yaml: shadow): "
    candidate = f"{found.candidate.name} {found.candidate.version}"
    if found.shadow is None:
        begin = f"gitops shadow {target} --model {found.candidate.version} starts it."
        raise NotWantedError(f"{asked}{candidate} is not its shadow. {begin}")
    if found.comparison is None:
        raise NotWantedError(f"{asked}how {candidate} does is not known. {found.problem}")
    rows = found.comparison.rows
    if rows.judged < bounds.least:
        more = "Wait, or give it more with --sample."
        raise NotWantedError(f"{asked}{candidate} was compared over {rows.judged:,} so far. {more}")
    different = 1 - (rows.agreement or 0.0)
    if different > bounds.max_disagreement:
        raise WorseError(f"{asked}{candidate} differs in {different:.3g} of {rows.judged:,} rows.")


def section(found: Trial, target: str) -> str:
    """The part of a pull request's body that says how a candidate would have answered."""
    parts = [*_said(found, target), _bounds(found)]
    return "\n\n".join(["## Shadow", *parts])


def _said(found: Trial, target: str) -> list[str]:
    if found.shadow is None or found.since is None:
        by_hand = f"`gitops shadow {target} --model {found.candidate.version}`"
        return [f"The candidate was not compared on the requests of {target}: {by_hand} would do that."]
    since = f"since {found.since.when:%Y-%m-%d %H:%M %Z}, by {found.since.sha[:7]}"
    if found.comparison is None:
        return [f"The candidate is the shadow of {target} {since}. Its result is not known: {code(found.problem)}"]
    seen, rows = found.comparison, found.comparison.rows
    left = f"Failed: {rows.failed:,} rows. Dropped because there was no time: {rows.dropped:,} rows."
    if rows.agreement is None:
        ready = f"It is in use in {seen.ready} of {seen.pods} pods that report it."
        return [f"Nothing was compared yet: the candidate is the shadow of {target} {since}. {ready} {left}"]
    share = f"{100 * found.shadow.share:.3g} % of the requests, {since}"
    where_not = "; where not:" if seen.differing else "."
    told = f"Over {rows.judged:,} rows of {target} the candidate agrees with {percent(rows.agreement)} ({share})"
    return [f"{told}{where_not}", *_pairs(found, seen), _distances(seen), _times(found, seen), left]


def _pairs(found: Trial, seen: Comparison) -> list[str]:
    if not seen.differing:
        return []
    shown, rest = seen.differing[:_PAIRS_SHOWN], seen.differing[_PAIRS_SHOWN:]
    rows = [
        [code(pair.answer), code(pair.shadow_answer), f"{pair.rows:,}", percent(pair.rows / seen.rows.judged)]
        for pair in shown
    ]
    columns = (f"version {found.answering.version} answers", f"version {found.candidate.version}", "rows", "share")
    more = f"And {sum(pair.rows for pair in rest):,} rows in {len(rest)} other pairs."
    return [table(columns, rows), *([more] if rest else [])]


def _distances(seen: Comparison) -> str:
    shifted = " (0.2 or more means that the mix of answers differs)" if (seen.psi or 0.0) >= _SHIFTED else ""
    psi = "PSI between the answers of the two: " + ("not known." if seen.psi is None else f"{seen.psi:.3f}{shifted}.")
    if seen.difference.p50 is None or seen.difference.p95 is None:
        return psi
    return (
        f"{psi} Difference: {seen.difference.p50:.3g} in the median, {seen.difference.p95:.3g} at the 95th percentile."
    )


def _times(found: Trial, seen: Comparison) -> str:
    def row(title: str, times: Quantiles) -> Sequence[str]:
        return [title, *("-" if value is None else f"{1000 * value:.3g} ms" for value in (times.p50, times.p95))]

    rows = [
        row(f"version {found.answering.version}, which answers", seen.seconds),
        row(f"version {found.candidate.version}, the candidate", seen.shadow_seconds),
    ]
    return table(("time in the model", "p50", "p95"), rows)


def _bounds(found: Trial) -> str:
    if found.bounds is None:
        return "No bounds are set (`shadow.minRows` and `shadow.maxDisagreement` in values.yaml), so you decide."
    return f"Required: {found.bounds}. This is met."
