"""A release after which a critical alert of its service began: that it goes back, in git."""

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
from gitops.promotion.asked import asked

_SEVERITY = "critical"


class Watch(Struct, frozen=True, kw_only=True):
    """What people ask for in a service's values.yaml, under `watch`."""

    minutes: Annotated[float, Meta(ge=0)] = 0.0


class Burning(Struct, frozen=True, kw_only=True):
    """A critical alert that began soon after a service's pins moved, and those pins."""

    release: Release
    released: datetime
    alert: Alert

    def __str__(self) -> str:
        """Why the service is held, for everybody who runs into it."""
        name = self.alert.labels["alertname"]
        minutes = (self.alert.active_at - self.released).total_seconds() / 60
        summary = self.alert.annotations.get("summary") or "no summary given"
        return f"{name} began {minutes:.0f} min after the release: {' '.join(summary.split())}"


def watched_minutes(start: Snapshot, target: Target) -> float:
    """Return for how many minutes after a release its alerts count; 0 where nobody asks for that.

    Raises:
        BadInputError: It is not a number of minutes.
    """
    try:
        return msgspec.convert(asked(start, target, "watch"), Watch).minutes
    except msgspec.ValidationError as error:
        raise BadInputError(f"The values of {target} under watch: {error}.") from None


def burning(start: Snapshot, prometheuses: Prometheuses, target: Target) -> Burning | None:
    """Return the first critical alert that began in the watched minutes after the pins moved, if it fires now.

    An alert that began earlier is not the release's doing. Held services are left alone: somebody decided already.

    Args:
        start: The newest files of the main branch.
        prometheuses: The ways to Prometheus.
        target: The service in its environment.

    Raises:
        BadInputError: Its values are not as they should be.
        OutageError: Its Prometheus does not answer.
    """
    minutes = watched_minutes(start, target)
    release = start.release(target)[1]
    if not minutes or release is None or release.held is not None:
        return None
    released = since(steps(start.repository, target, start.commit)).when
    alerts = prometheuses.of(target).alerts()
    last = released + timedelta(minutes=minutes)
    began = [alert for alert in alerts if _is_critical(alert, target) and released <= alert.active_at <= last]
    if not began:
        return None
    return Burning(release=release, released=released, alert=min(began, key=lambda alert: alert.active_at))


def _is_critical(alert: Alert, target: Target) -> bool:
    said = (alert.labels.get("severity"), alert.labels.get("namespace"), alert.labels.get("job"))
    return alert.state == "firing" and said == (_SEVERITY, target.namespace, target.release_name)


def roll_back_burning(
    repository: Repository, revision: str, found: Mapping[Target, Burning], hold: Callable[[str], Hold]
) -> Edit:
    """Make the edit that pins what ran before, and holds it with the alert as reason; a commit for each service.

    Args:
        repository: The repository.
        revision: The commit to go back from.
        found: The services, and the result of their releases.
        hold: Makes a hold of a reason.
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
            return not_rolled_back(target, f"{found}, but git says something else now")
        step = rollback_target(repository, target, revision)
        return structs.replace(rolled_back(snapshot, target, step, hold(str(found))), measured=True)
    except GitopsError as error:
        return not_rolled_back(target, f"{found}; {error}", error.exit_code)
