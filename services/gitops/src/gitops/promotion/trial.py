"""Compare a candidate's answers to the target's own requests, and decide whether they are good enough."""

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
from gitops.promotion.arrival import Arrivals
from gitops.promotion.asked import asked
from gitops.promotion.markdown import code, table

_PAIRS_SHOWN = 10
_SHIFTED = 0.2


class WorseError(NotWantedError):
    """The candidate differs more than the bounds allow."""


class Bounds(Struct, frozen=True, kw_only=True, rename="camel"):
    """The bounds for a candidate in a service's values.yaml, under `shadow`."""

    min_rows: Annotated[int, Meta(ge=0)] = 0
    max_disagreement: Annotated[float, Meta(ge=0, le=1)] = 1.0

    def __str__(self) -> str:
        """Return a description for people."""
        return f"at least {self.least:,} rows compared, and at most {self.max_disagreement:.3g} of them different"

    @property
    def least(self) -> int:
        """Return how many rows must be compared: at least one."""
        return max(1, self.min_rows)


class Trial(Struct, frozen=True, kw_only=True):
    """The comparison of a candidate in the target.

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


def trial(start: Snapshot, cluster: Cluster, target: Target, after: Release, arrivals: Arrivals) -> Trial | None:
    """Return the comparison of the model to promote; None if the model does not change or is the first one.

    Args:
        start: The newest files of the main branch.
        cluster: Argo CD's cluster, through which Prometheus is reached.
        target: The target of the promotion.
        after: The release that it would run.
        arrivals: The records that show since when the candidate is the shadow.

    Raises:
        BadInputError: The bounds in its values are invalid.
        WorseError: Bounds are set, and the candidate exceeds them.
        NotWantedError: Bounds are set, and it is not known whether the candidate meets them.
    """
    before = start.release(target)[1]
    if before is None or _content(before.model) == _content(after.model):
        return None
    found = Trial(answering=before.model, candidate=after.model, bounds=bounds_of(start, target))
    shadow = before.tried
    if shadow and shadow.is_model(after.model):
        since = arrivals.dated(tried_since(steps(start.repository, target, start.commit)))
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
    """Return the fields that decide how a model answers; the release name is not one of them."""
    return model.name, model.version, model.digest, model.uri


def bounds_of(start: Snapshot, target: Target) -> Bounds | None:
    """Return the bounds for a candidate; None if none are set, as in the chart's own values.

    Raises:
        BadInputError: The bounds are invalid.
    """
    said = asked(start, target, "shadow")
    wanted = {name: said[name] for name in ("minRows", "maxDisagreement") if name in said}
    try:
        bounds = msgspec.convert(wanted, Bounds)
        return None if bounds == Bounds() else bounds
    except msgspec.ValidationError as error:
        raise BadInputError(f"The values of {target} under shadow: {error}.") from None


def _refuse_unmet(found: Trial, target: Target, bounds: Bounds) -> None:
    """Refuse a candidate that does not meet the bounds, or for which that is not known."""
    asked = f"{target} requires {bounds} ({target.folder}/values.yaml: shadow): "
    candidate = f"{found.candidate.name} {found.candidate.version}"
    if found.shadow is None:
        begin = f"gitops shadow {target} --model {found.candidate.version} starts it."
        raise NotWantedError(f"{asked}{candidate} is not its shadow. {begin}")
    if found.comparison is None:
        raise NotWantedError(f"{asked}the result of {candidate} is not known. {found.problem}")
    rows = found.comparison.rows
    if rows.judged < bounds.least:
        more = "Wait, or give it more with --sample."
        raise NotWantedError(f"{asked}{candidate} was compared over {rows.judged:,} so far. {more}")
    different = 1 - (rows.agreement or 0.0)
    if different > bounds.max_disagreement:
        raise WorseError(f"{asked}{candidate} differs in {different:.3g} of {rows.judged:,} rows.")


def section(found: Trial, target: str) -> str:
    """Return the section of a pull request's body about the candidate's answers."""
    parts = [*_said(found, target), _bounds(found)]
    return "\n\n".join(["## Shadow", *parts])


def _said(found: Trial, target: str) -> list[str]:
    if found.shadow is None or found.since is None:
        by_hand = f"`gitops shadow {target} --model {found.candidate.version}`"
        return [f"The candidate was not compared on the requests of {target}: {by_hand} starts that."]
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
    agreed = f"Over {rows.judged:,} rows of {target} the candidate agrees with {percent(rows.agreement)} ({share})"
    return [f"{agreed}{where_not}", *_pairs(found, seen), _distances(seen), _times(found, seen), left]


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
