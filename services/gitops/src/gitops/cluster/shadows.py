"""The state of the shadows of all services, for the status table."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.comparison import Rows, Watch, rows_of
from gitops.cluster.prometheus import Prometheuses
from gitops.errors import GitopsError
from gitops.git.repository import Repository
from gitops.pins.history import steps, tried_since
from gitops.pins.release import Release, Shadow
from gitops.platform.model import Platform
from gitops.platform.targets import Target, targets


class ShadowStatus(Struct, frozen=True, kw_only=True):
    """A shadow and since when it is compared; if `rows` is None, `problem` says why."""

    version: str
    since: datetime | None = None
    rows: Rows | None = None
    agreement: float | None = None
    problem: str = ""


def shadows_of(
    repository: Repository, cluster: Cluster, platform: Platform, releases: Sequence[Release | None]
) -> list[ShadowStatus | None]:
    """Return the state of the shadow of each target; None for a target without one.

    Args:
        repository: The repository; its history says since when a shadow is pinned.
        cluster: Argo CD's cluster.
        platform: The content of platform.yaml.
        releases: What each target runs, in the order of `targets`.
    """
    with Prometheuses(platform, cluster) as ways:
        return [
            _status(repository, target, shadow, ways) if (shadow := release.tried if release else None) else None
            for target, release in zip(targets(platform), releases, strict=True)
        ]


def _status(repository: Repository, target: Target, shadow: Shadow, ways: Prometheuses) -> ShadowStatus:
    known = steps(repository, target, "HEAD")
    if not known or known[0].release is None or known[0].release.tried != shadow:
        return ShadowStatus(version=shadow.version, problem="it is not committed")
    since = tried_since(known).when
    try:
        rows = rows_of(ways.of(target), Watch(target=target, shadow=shadow, since=since))
    except GitopsError as error:
        return ShadowStatus(version=shadow.version, since=since, problem=str(error).partition("\n")[0])
    return ShadowStatus(version=shadow.version, since=since, rows=rows, agreement=rows.agreement)
