"""Progress of the cluster: the state of each application and workload, and waiting until all are settled."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from gitops.errors import OutageError
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal

REFRESH = "argocd.argoproj.io/refresh"
_PAUSE = 3.0
_SHOWN = 100
_T = TypeVar("_T")


class State(Struct, frozen=True, kw_only=True):
    """One object to wait for."""

    name: str
    sync: str
    health: str
    settled: bool
    message: str = ""

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of a table row."""
        text = " ".join(self.message.split())
        return self.name, self.sync, self.health, text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def application_state(name: str, application: Manifest | None) -> State:
    """Return the state of an Argo CD application: settled if it is synced, healthy, and its last operation succeeded.

    Only the operation shows a hook that failed after a sync. A requested refresh is an annotation until Argo CD has
    handled it.
    """
    if application is None:
        return State(name=name, sync="", health="Missing", settled=False, message="not created yet")
    status = application.get("status") or {}
    operation = status.get("operationState") or {}
    sync = (status.get("sync") or {}).get("status", "Unknown")
    health = (status.get("health") or {}).get("status", "Unknown")
    phase = operation.get("phase", "Succeeded")
    refreshing = REFRESH in (application["metadata"].get("annotations") or {})
    well = (sync, health, phase) == ("Synced", "Healthy", "Succeeded")
    message = (
        "Argo CD has not read git again yet" if well and refreshing else "" if well else _message(status, sync, phase)
    )
    return State(name=name, sync=sync, health=health, settled=well and not refreshing, message=message)


def _message(status: Mapping[str, object], sync: str, phase: str) -> str:
    found = status.get("conditions")
    conditions = found if isinstance(found, list) else []
    errors = [condition for condition in conditions if str(condition.get("type", "")).endswith("Error")]
    # A warning of Argo CD may explain why the status is unknown.
    if told := errors or (conditions if sync == "Unknown" else []):
        return "; ".join(f"{condition.get('type', '')}: {condition.get('message', '')}" for condition in told)
    operation, health = status.get("operationState"), status.get("health")
    if phase != "Succeeded" and isinstance(operation, dict) and operation.get("message"):
        return str(operation["message"])
    unsaid = "Argo CD has not compared it with git, and gives no reason" if sync == "Unknown" else ""
    return str((isinstance(health, dict) and health.get("message")) or unsaid)


def workload_state(workload: Manifest) -> State:
    """Return the state of a Deployment or StatefulSet: settled if every pod is updated and available."""
    status, spec = workload.get("status") or {}, workload["spec"]
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    settled = seen and ready >= wanted
    return State(
        name=workload["metadata"]["name"],
        sync="",
        health="Healthy" if settled else "Progressing",
        settled=settled,
        message=f"{ready} of {wanted} pods",
    )


def left_after(left: Callable[[], Sequence[_T]], *, seconds: float, pause: float) -> Sequence[_T]:
    """Ask what is left until nothing is or the time is over; return the last answer.

    Args:
        left: Returns what is left.
        seconds: How long to wait.
        pause: Seconds between calls.
    """
    deadline = time.monotonic() + seconds
    while (found := left()) and time.monotonic() <= deadline:
        time.sleep(pause)
    return found


def wait_until_settled(
    look: Callable[[], Sequence[State]], terminal: Terminal, title: str, *, seconds: float
) -> list[State]:
    """Poll until everything is settled or the time is over, and show the progress.

    A cluster that sometimes does not answer is no failure until the time is over.

    Args:
        look: Reads the states from the cluster.
        terminal: Where to show them.
        title: The title of the table.
        seconds: How long to wait.

    Returns:
        The last states; some are not settled if the time is over.

    Raises:
        OutageError: The cluster never answered.
    """
    deadline = time.monotonic() + seconds
    states: Sequence[State] = []
    with terminal.board(title, ("application", "sync", "health", "")) as board:
        while True:
            try:
                states = look()
                board.show([state.row for state in states])
            except OutageError:
                if time.monotonic() > deadline and not states:
                    raise
            if (states and all(state.settled for state in states)) or time.monotonic() > deadline:
                return list(states)
            time.sleep(_PAUSE)
