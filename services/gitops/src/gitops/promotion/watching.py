"""Find releases that critical alerts of their service followed, and roll them back in git."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, structs

from gitops.cluster.prometheus import Alert, Prometheuses
from gitops.errors import BadInputError, GitopsError
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.history import since, steps
from gitops.pins.hold import not_rolled_back, rollback_target, rolled_back
from gitops.pins.release import Hold, Release
from gitops.platform.targets import Target
from gitops.promotion.arrival import Arrivals
from gitops.promotion.asked import asked

_SEVERITY = "critical"


class Watch(Struct, frozen=True, kw_only=True):
    """The settings in a service's values.yaml, under `watch`."""

    minutes: Annotated[float, Meta(ge=0)] = 0.0


class Burning(Struct, frozen=True, kw_only=True):
    """A critical alert that began soon after a service's pins changed, and those pins."""

    release: Release
    released: datetime
    alert: Alert

    def __str__(self) -> str:
        """Return the reason of the hold."""
        name = self.alert.labels["alertname"]
        minutes = (self.alert.active_at - self.released).total_seconds() / 60
        summary = self.alert.annotations.get("summary") or "no summary given"
        return f"{name} began {minutes:.0f} min after the release: {' '.join(summary.split())}"


def watched_minutes(start: Snapshot, target: Target) -> float:
    """Return for how many minutes after a release its alerts count; 0 if the setting is missing.

    Raises:
        BadInputError: It is not a number of minutes.
    """
    try:
        return msgspec.convert(asked(start, target, "watch"), Watch).minutes
    except msgspec.ValidationError as error:
        raise BadInputError(f"The values of {target} under watch: {error}.") from None


def burning(start: Snapshot, prometheuses: Prometheuses, target: Target, arrivals: Arrivals) -> Burning | None:
    """Return the first critical alert that began in the watched minutes after the pins changed, if it fires now.

    An alert that began earlier has another cause. Held services are skipped, because a person decided already.

    Args:
        start: The newest files of the main branch.
        prometheuses: The connections to Prometheus.
        target: The service in its environment.
        arrivals: The records that show since when it has its pins.

    Raises:
        BadInputError: Its values are invalid.
        OutageError: Its Prometheus does not answer.
    """
    minutes = watched_minutes(start, target)
    release = start.release(target)[1]
    if not minutes or release is None or release.held is not None:
        return None
    brought = since(steps(start.repository, target, start.commit))
    alerts = [alert for alert in prometheuses.of(target).alerts() if _is_critical(alert, target)]
    if not any(brought.when <= alert.active_at for alert in alerts):
        return None
    released = arrivals.dated(brought).when
    last = released + timedelta(minutes=minutes)
    began = [alert for alert in alerts if released <= alert.active_at <= last]
    if not began:
        return None
    return Burning(release=release, released=released, alert=min(began, key=lambda alert: alert.active_at))


def _is_critical(alert: Alert, target: Target) -> bool:
    said = (alert.labels.get("severity"), alert.labels.get("namespace"), alert.labels.get("job"))
    return alert.state == "firing" and said == (_SEVERITY, target.namespace, target.release_name)


def roll_back_burning(
    repository: Repository, revision: str, found: Mapping[Target, Burning], hold: Callable[[str], Hold]
) -> Edit:
    """Return the edit that pins what ran before, and holds the service with the alert as reason; a commit for each.

    Args:
        repository: The repository.
        revision: The commit whose pins to replace.
        found: The alerts by service.
        hold: Returns a hold with a reason.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        return [_proposed(repository, snapshot, revision, target, one, hold) for target, one in found.items()]

    return edit


def _proposed(
    repository: Repository,
    snapshot: Snapshot,
    revision: str,
    target: Target,
    found: Burning,
    hold: Callable[[str], Hold],
) -> Proposal:
    try:
        if snapshot.released(target)[1] != found.release:
            return not_rolled_back(target, f"{found}, but git pins something else now")
        step = rollback_target(repository, target, revision)
        return structs.replace(rolled_back(snapshot, target, step, hold(str(found))), measured=True)
    except GitopsError as error:
        return not_rolled_back(target, f"{found}; {error}", error.exit_code)
