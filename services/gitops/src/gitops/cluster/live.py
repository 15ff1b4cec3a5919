"""The state of one service in the cluster: its Argo CD application, and which model its API answers with."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gitops.cluster.canary import Canary, canary_of
from gitops.cluster.client import Cluster
from gitops.cluster.convergence import application_state
from gitops.cluster.kinds import INSTANCE
from gitops.errors import GitopsError
from gitops.pins.release import Release
from gitops.platform.targets import Target
from gitops.rendering.manifests import Manifest


class Answer(Struct, frozen=True, kw_only=True):
    """The model that a service reports."""

    name: str
    version: str
    digest: str


class ShadowHealth(Struct, frozen=True, kw_only=True):
    """The shadow as the API reports it: ready, loading or failed, and why it failed."""

    version: str
    status: str
    reason: str | None = None


class _Health(Struct, frozen=True):
    """The answer of /health, which needs no key: the models, the pinned one first."""

    models: Annotated[list[Answer], Meta(min_length=1)]
    shadow: ShadowHealth | None = None


class Live(Struct, frozen=True, kw_only=True):
    """A service in the cluster.

    `operation` is the phase of the last sync; a failed smoke test makes it fail. `problem` says why there is no answer.
    `canary` is set if a Rollout runs the pods.
    """

    sync: str
    health: str
    operation: str = ""
    message: str = ""
    answer: Answer | None = None
    as_pinned: bool | None = None
    problem: str = ""
    shadow: ShadowHealth | None = None
    canary: Canary | None = None


def look(cluster: Cluster, target: Target, release: Release | None, application: Manifest | None) -> Live | None:
    """Return the state of a target in the cluster; None if nothing is released and nothing runs.

    Args:
        cluster: Argo CD's cluster.
        target: The service in its environment.
        release: What it should run.
        application: Its Argo CD application, if it exists.

    Raises:
        OutageError: The cluster does not answer.
    """
    if release is None and application is None:
        return None
    state = application_state(target.application, application)
    operation = ((application or {}).get("status") or {}).get("operationState") or {}
    seen = Live(sync=state.sync, health=state.health, operation=operation.get("phase", ""), message=state.message)
    if target.environment.cluster:
        # The context is that of Argo CD's cluster.
        return msgspec.structs.replace(seen, problem=f"its pods are in the cluster {target.environment.cluster}")
    namespace = target.namespace
    seen = msgspec.structs.replace(seen, canary=canary_of(cluster, target))
    selector = f"{INSTANCE}={target.release_name},app.kubernetes.io/component=server"
    services = cluster.items("services", namespace, selector)
    if not services:
        return msgspec.structs.replace(seen, problem="no Service")
    try:
        answered = cluster.answer(namespace, services[0]["metadata"]["name"], _port_of_health(services[0]), "/health")
        health = msgspec.json.decode(answered, type=_Health)
    except GitopsError as error:
        return msgspec.structs.replace(seen, problem=str(error))
    except msgspec.MsgspecError as error:
        return msgspec.structs.replace(seen, problem=f"gives an unexpected answer: {error}")
    answer = health.models[0]
    as_pinned = _as_pinned(answer, release)
    return msgspec.structs.replace(seen, answer=answer, as_pinned=as_pinned, shadow=health.shadow)


def _port_of_health(service: Manifest) -> str:
    """Return the name of the port for /health: a separate one since version 0.2.0 of the chart."""
    ports = (service.get("spec") or {}).get("ports") or []
    return "metrics" if any(port.get("name") == "metrics" for port in ports) else "http"


def _as_pinned(answer: Answer, release: Release | None) -> bool | None:
    if release is None:
        return None
    model = release.model
    return (answer.name, answer.version, answer.digest) == (model.name, model.version, model.digest)
