"""What runs where: what git pins, what Argo CD makes of it, and what really answers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gitops.cluster.client import Cluster
from gitops.cluster.convergence import application_state
from gitops.cluster.diagnosis import INSTANCE
from gitops.errors import GitopsError
from gitops.git.repository import Repository
from gitops.pins.release import Release, load_release
from gitops.pins.wording import age, short
from gitops.platform.environments import ARGOCD, application_of, environments, namespace_of, release_file
from gitops.rendering.manifests import Manifest


class LastChange(Struct, frozen=True, kw_only=True):
    """The commit that changed an environment's pins last; `uncommitted` says that the file differs from it."""

    commit: str
    author: str
    subject: str
    when: datetime
    age_seconds: int
    uncommitted: bool


class Answer(Struct, frozen=True, kw_only=True):
    """The model that an environment's API says it serves."""

    name: str
    version: str
    digest: str


class _Health(Struct, frozen=True):
    """What the API says of itself at /health, which needs no key: its models, the one that is pinned first."""

    models: Annotated[list[Answer], Meta(min_length=1)]


class Live(Struct, frozen=True, kw_only=True):
    """An environment in the cluster.

    `operation` is the phase of the last sync, which a failed smoke test fails; `problem` says why there is no answer.
    """

    sync: str
    health: str
    operation: str = ""
    message: str = ""
    answer: Answer | None = None
    as_pinned: bool | None = None
    problem: str = ""


class EnvironmentStatus(Struct, frozen=True, kw_only=True):
    """One environment; `release` is None where nothing is released, `live` where no cluster was asked."""

    environment: str
    release: Release | None
    hold: str | None
    changed: LastChange | None
    live: Live | None = None


class PlatformStatus(Struct, frozen=True, kw_only=True):
    """One shared application in the cluster."""

    application: str
    sync: str
    health: str
    message: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """Everything at a glance; `cluster` is the context that was asked, or why none was."""

    environments: list[EnvironmentStatus]
    platform: list[PlatformStatus]
    cluster: str


def status(repository: Repository, cluster: Cluster | None, now: datetime | None = None) -> Status:
    """Look at git, and at the cluster where one is given and answers.

    Args:
        repository: The repository.
        cluster: The cluster; None asks none.
        now: The moment that ages are counted from.

    Raises:
        BadInputError: A release file is not as it should be.
    """
    now = now or datetime.now(UTC)
    from_git = [_from_git(repository, name, now) for name in environments(repository.root)]
    if cluster is None:
        return Status(environments=from_git, platform=[], cluster="not asked")
    try:
        context = cluster.context()
        found = {entry["metadata"]["name"]: entry for entry in cluster.items("applications.argoproj.io", ARGOCD)}
        lives = [
            look(cluster, entry.environment, entry.release, found.get(application_of(entry.environment)))
            for entry in from_git
        ]
    except GitopsError as error:
        return Status(environments=from_git, platform=[], cluster=f"not asked: {error}")
    serving = {application_of(entry.environment) for entry in from_git}
    return Status(
        environments=[msgspec.structs.replace(entry, live=live) for entry, live in zip(from_git, lives, strict=True)],
        platform=_platform({name: entry for name, entry in found.items() if name not in serving}),
        cluster=context,
    )


def look(cluster: Cluster, environment: str, release: Release | None, application: Manifest | None) -> Live | None:
    """What the cluster says of an environment; None where nothing is released and nothing is there.

    Args:
        cluster: The cluster.
        environment: The environment.
        release: What it should run.
        application: Its Argo CD application, where there is one.

    Raises:
        OutageError: The cluster does not answer.
    """
    if release is None and application is None:
        return None
    state = application_state(application_of(environment), application)
    operation = ((application or {}).get("status") or {}).get("operationState") or {}
    seen = Live(sync=state.sync, health=state.health, operation=operation.get("phase", ""), message=state.message)
    namespace = namespace_of(environment)
    selector = f"{INSTANCE}={application_of(environment)},app.kubernetes.io/component=server"
    services = [service["metadata"]["name"] for service in cluster.items("services", namespace, selector)]
    if not services:
        return msgspec.structs.replace(seen, problem="no Service")
    try:
        health = msgspec.json.decode(cluster.answer(namespace, services[0], "/health"), type=_Health)
    except GitopsError as error:
        return msgspec.structs.replace(seen, problem=str(error))
    except msgspec.MsgspecError as error:
        return msgspec.structs.replace(seen, problem=f"answers something else: {error}")
    answer = health.models[0]
    return msgspec.structs.replace(seen, answer=answer, as_pinned=_as_pinned(answer, release))


def environment_table(statuses: Sequence[EnvironmentStatus], *, live: bool) -> tuple[tuple[str, ...], list[list[str]]]:
    """Columns and rows for people; `live` says whether a cluster was asked."""
    columns = ("environment", "chart", "image", "model", "changed", "hold")
    rows = [[entry.environment, *_pins(entry.release), _changed(entry.changed), entry.hold or ""] for entry in statuses]
    if not live:
        return columns, rows
    lives = [
        [entry.live.sync, entry.live.health, _answers(entry.live)] if entry.live else [""] * 3 for entry in statuses
    ]
    return (*columns, "sync", "health", "answers"), [[*row, *more] for row, more in zip(rows, lives, strict=True)]


def _from_git(repository: Repository, environment: str, now: datetime) -> EnvironmentStatus:
    file = release_file(environment)
    release = load_release(repository.root / file, file)
    commit = repository.last_commit(file)
    changed = None
    if commit:
        changed = LastChange(
            commit=commit.sha,
            author=commit.author,
            subject=commit.subject,
            when=commit.when,
            age_seconds=int((now - commit.when).total_seconds()),
            uncommitted=bool(repository.changed(file)),
        )
    return EnvironmentStatus(
        environment=environment, release=release, hold=release.held if release else None, changed=changed
    )


def _as_pinned(answer: Answer, release: Release | None) -> bool | None:
    if release is None:
        return None
    model = release.model
    return (answer.name, answer.version, answer.digest) == (model.name, model.version, model.digest)


def _platform(found: Mapping[str, Manifest]) -> list[PlatformStatus]:
    states = [application_state(name, found[name]) for name in sorted(found)]
    return [
        PlatformStatus(application=state.name, sync=state.sync, health=state.health, message=state.message)
        for state in states
    ]


def _pins(release: Release | None) -> list[str]:
    if release is None:
        return ["not released", "", ""]
    image, model = release.image, release.model
    return [
        release.release.chart,
        f"{image.tag} {short(image.digest)}",
        f"{model.name} {model.version} {short(model.digest)}",
    ]


def _changed(change: LastChange | None) -> str:
    if change is None:
        return ""
    return f"{change.commit[:7]}, {age(change.age_seconds)} ago" + (", edited since" if change.uncommitted else "")


def _answers(live: Live) -> str:
    if live.answer is None:
        return "no answer"
    verdict: Literal["as pinned", "not as pinned"] = "as pinned" if live.as_pinned else "not as pinned"
    return verdict if live.as_pinned else f"{verdict}: {live.answer.name} {live.answer.version}"
