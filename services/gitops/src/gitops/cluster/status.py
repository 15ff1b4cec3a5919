"""What runs where: what git pins, the state in Argo CD, and what the APIs answer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.convergence import application_state
from gitops.cluster.live import Live, look
from gitops.cluster.shadows import ShadowStatus, shadows_of
from gitops.errors import BadInputError, GitopsError
from gitops.git.repository import Repository
from gitops.pins.release import Release, load_release
from gitops.pins.wording import age, percent
from gitops.platform.model import ARGOCD
from gitops.platform.reader import load_platform
from gitops.platform.targets import Target, targets
from gitops.rendering.manifests import Manifest
from gitops.trust import shown


class LastChange(Struct, frozen=True, kw_only=True):
    """The last commit that changed the pins; `uncommitted` says that the file differs from it."""

    commit: str
    author: str
    subject: str
    when: datetime
    age_seconds: int
    uncommitted: bool


class TargetStatus(Struct, frozen=True, kw_only=True):
    """One service in one environment.

    `release` is None if nothing is released or the file cannot be read; in the latter case `problem` says why. `live`
    is None if no cluster was queried. `card` is the page of the pinned version in MLflow, which leads to its model
    card; None without MLflow's address.
    """

    environment: str
    service: str
    application: str
    release: Release | None
    hold: str | None
    changed: LastChange | None
    problem: str = ""
    live: Live | None = None
    shadow: ShadowStatus | None = None
    card: str | None = None


class PlatformStatus(Struct, frozen=True, kw_only=True):
    """A shared application in the cluster."""

    application: str
    sync: str
    health: str
    message: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """The whole status; `cluster` is the context that was queried, or the reason why none was."""

    services: list[TargetStatus]
    platform: list[PlatformStatus]
    cluster: str


def look_around(
    repository: Repository, cluster: Cluster | None, now: datetime | None = None, mlflow_url: str | None = None
) -> Status:
    """Read the state from git, and from the cluster if one is given and answers.

    Args:
        repository: The repository.
        cluster: The cluster; None queries none.
        now: The time from which ages are counted.
        mlflow_url: The address of MLflow's pages, for links only.

    Raises:
        BadInputError: platform.yaml is invalid.
    """
    now = now or datetime.now(UTC)
    platform = load_platform(repository.root)
    there = targets(platform)
    from_git = [_with_card(_from_git(repository, target, now), mlflow_url) for target in there]
    if cluster is None:
        return Status(services=from_git, platform=[], cluster="not asked")
    try:
        context = cluster.context()
        found = {entry["metadata"]["name"]: entry for entry in cluster.items("applications.argoproj.io", ARGOCD)}
        lives = [
            look(cluster, target, entry.release, found.get(target.application))
            for target, entry in zip(there, from_git, strict=True)
        ]
        shadows = shadows_of(repository, cluster, platform, [entry.release for entry in from_git])
    except GitopsError as error:
        return Status(services=from_git, platform=[], cluster=f"not asked: {error}")
    ours = {target.application for target in there}
    return Status(
        services=[
            msgspec.structs.replace(entry, live=live, shadow=shadow)
            for entry, live, shadow in zip(from_git, lives, shadows, strict=True)
        ],
        platform=_platform({name: entry for name, entry in found.items() if name not in ours}),
        cluster=context,
    )


def service_table(statuses: Sequence[TargetStatus], *, live: bool) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return columns and rows for people, without digests; `live` says whether a cluster was queried."""
    notes = [entry.problem or "; ".join(filter(None, (_held(entry), _shadow(entry)))) for entry in statuses]
    columns = (
        "target",
        "chart",
        "image",
        "model",
        "changed",
        *(("live",) if live else ()),
        *(("note",) if any(notes) else ()),
    )
    rows = []
    for entry, note in zip(statuses, notes, strict=True):
        seen = [_live(entry.live)] if live else []
        target = f"{entry.environment}/{entry.service}"
        rows.append([target, *_pins(entry), _changed(entry.changed), *seen, note][: len(columns)])
    return columns, rows


def _from_git(repository: Repository, target: Target, now: datetime) -> TargetStatus:
    release, problem = None, ""
    try:
        release = load_release(repository.root / target.file, target.file)
    except BadInputError as error:
        problem = str(error)
    commit = repository.last_commit(target.file)
    changed = None
    if commit and (release or problem):
        changed = LastChange(
            commit=commit.sha,
            author=commit.author,
            subject=commit.subject,
            when=commit.when,
            age_seconds=int((now - commit.when).total_seconds()),
            uncommitted=bool(repository.changed(target.file)),
        )
    return TargetStatus(
        environment=target.environment.name,
        service=target.service.name,
        application=target.application,
        release=release,
        hold=release.held if release else None,
        changed=changed,
        problem=problem,
    )


def _with_card(entry: TargetStatus, mlflow_url: str | None) -> TargetStatus:
    parts = urlsplit(shown(mlflow_url or ""))
    if entry.release is None or parts.scheme not in ("http", "https"):
        return entry
    model = entry.release.model
    server = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    card = f"{server}/#/models/{quote(model.name, safe='')}/versions/{model.version}"
    return msgspec.structs.replace(entry, card=card)


def _platform(found: Mapping[str, Manifest]) -> list[PlatformStatus]:
    states = [application_state(name, found[name]) for name in sorted(found)]
    return [
        PlatformStatus(application=state.name, sync=state.sync, health=state.health, message=state.message)
        for state in states
    ]


def _pins(entry: TargetStatus) -> list[str]:
    release = entry.release
    if release is None:
        return ["", "", "cannot be read" if entry.problem else "not released"]
    said = f"{release.model.name} {release.model.version}"
    named = release.model.release if isinstance(release.model.release, str) else ""
    return [release.release.chart, release.image.tag, f"{said} ({named})" if named else said]


def _changed(change: LastChange | None) -> str:
    if change is None:
        return ""
    return f"{change.commit[:7]}, {age(change.age_seconds)} ago" + (", edited since" if change.uncommitted else "")


def _held(entry: TargetStatus) -> str:
    return f"held: {entry.hold}" if entry.hold is not None else ""


def _shadow(entry: TargetStatus) -> str:
    shadow = entry.release.tried if entry.release else None
    if shadow is None:
        return ""
    pinned = f"shadow {shadow.version}, {100 * shadow.share:.3g} %"
    health = entry.live.shadow if entry.live else None
    if health and health.version == shadow.version and health.status != "ready":
        return f"{pinned}: {health.status}" + (f", {health.reason}" if health.reason else "")
    if entry.shadow is None:
        return pinned
    if entry.shadow.rows is None:
        return f"{pinned}: {entry.shadow.problem}"
    agreement = entry.shadow.agreement
    return f"{pinned}: " + (
        "nothing compared yet"
        if agreement is None
        else f"agrees with {percent(agreement)} of {entry.shadow.rows.judged:,} rows"
    )


def _live(live: Live | None) -> str:
    if live is None:
        return ""
    if live.answer is None:
        return f"{live.sync}, {live.health}, {live.problem or 'no answer'}"
    answers = "as pinned" if live.as_pinned else f"answers with {live.answer.name} {live.answer.version}"
    # One word is enough if all is well, so that the table fits a terminal.
    well = (live.sync, live.health) == ("Synced", "Healthy")
    return answers if well else f"{live.sync}, {live.health}, {answers}"
