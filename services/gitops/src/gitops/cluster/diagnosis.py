"""Diagnosis of what does not come up: which object, its message, its last log lines, and a remedy."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from gitops.cluster.kinds import INSTANCE
from gitops.platform.model import ARGOCD
from gitops.platform.reader import FILE
from gitops.rendering.manifests import Manifest

Logs = Callable[[str, str, str, bool], list[str]]
_EVENTS_SHOWN = 3
_NO_LOGS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "ContainerCreating"}
)


class _Advice(NamedTuple):
    """What to do if the text of an object matches the pattern."""

    pattern: str
    text: str


# The first match counts.
_ADVICE = (
    _Advice(
        r"(helm pull|oci|/charts).*(not found|manifest unknown|unauthorized|denied)",
        "Publish that version of the chart; a private registry needs `gitops bootstrap --registry-user`.",
    ),
    _Advice(
        r"authentication required|authorization failed|repository not found|invalid credentials|denied \(publickey",
        f"Push to the address in {FILE}, and give Argo CD access: `gitops bootstrap --git-user` or `--git-ssh-key`.",
    ),
    _Advice(
        r"server gave http response to https client",
        "The registry speaks plain HTTP: set registry.plainHttp in platform.yaml, commit, and push. Configure the "
        "nodes for it too.",
    ),
    _Advice(
        r"imagepullbackoff|errimagepull|manifest unknown|invalidimagename",
        "Push that image (tools/push-images); a private registry needs `gitops bootstrap --registry-user`.",
    ),
    _Advice(
        r"secret \S+ not found|couldn't find key|createcontainerconfigerror",
        "Run `gitops bootstrap` again: it creates the missing Secrets.",
    ),
    _Advice(
        r"insufficient (cpu|memory)|too many pods",
        "Give the cluster more resources, or lower `resources.requests` in envs/.",
    ),
    _Advice(
        r"persistentvolumeclaim|no persistent volumes available",
        "The volume was not created: check the default storage class, or set storage.storageClass in envs/platform.",
    ),
    _Advice(
        r"violates podsecurity",
        "The pod requires more rights than its namespace allows: fix the security context in its chart.",
    ),
    _Advice(
        r"is not permitted in project",
        "Allow it in apps/templates/project-*.yaml, or remove it from the rendered manifests.",
    ),
    _Advice(
        r"no matches for kind|could not find the requested resource",
        "Another application brings this kind, often `monitoring`: Argo CD retries this one when the kind exists.",
    ),
    _Advice(
        r"failed to load open api schema",
        "The API server cannot build its OpenAPI document, usually because of an aggregated API: its log names it, "
        "and `kubectl get apiservices` lists them.",
    ),
    _Advice(
        r"dial tcp|no such host|i/o timeout|connection refused|deadline exceeded|network is unreachable",
        "Pods cannot reach that address: check names, proxies and firewalls. `gitops bootstrap --without` leaves out "
        "an application whose chart cannot be reached.",
    ),
    _Advice(
        r"values don't meet the specifications|error validating|invalid value",
        "Fix the values in envs/: `gitops render` shows the same error.",
    ),
)


class Finding(Struct, frozen=True, kw_only=True):
    """An object that does not come up, and why."""

    object: str
    why: str
    details: list[str]
    advice: str


def diagnose_application(application: Manifest) -> list[Finding]:
    """Return the problems that an Argo CD application reports: rendering errors, and objects that did not sync."""
    name, status = application["metadata"]["name"], application.get("status") or {}
    found = [
        _finding(f"Application {name}", f"{condition['type']}: {condition.get('message', '')}", [], _describe(name))
        for condition in status.get("conditions") or []
        if str(condition.get("type", "")).endswith("Error")
    ]
    operation = status.get("operationState") or {}
    if operation.get("phase", "Succeeded") == "Succeeded":
        return found
    results = (operation.get("syncResult") or {}).get("resources") or []
    failed = [
        entry
        for entry in results
        if entry.get("status") == "SyncFailed" or entry.get("hookPhase") in ("Failed", "Error")
    ]
    found += [
        _finding(
            f"{entry['kind']} {entry.get('namespace', '')}/{entry['name']}",
            entry.get("message", ""),
            [],
            _describe(name),
        )
        for entry in failed
    ]
    message = operation.get("message", "")
    if not found and message:
        found.append(_finding(f"Application {name}", f"{operation['phase']}: {message}", [], _describe(name)))
    return found


def diagnose_pods(pods: Sequence[Manifest], events: Sequence[Manifest], logs: Logs) -> list[Finding]:
    """Return why pods are not ready.

    Args:
        pods: Pods of one namespace; those that are ready or have completed are skipped.
        events: The events of the namespace.
        logs: Returns the last lines of a container, by namespace, pod, container, and whether to read the previous run.
    """
    found = []
    for pod in pods:
        if _ready(pod):
            continue
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        reasons, lines = [], []
        for container, reason, previous in _troubles(pod):
            reasons.append(f"container {container}: {reason}")
            if reason.partition(":")[0] not in _NO_LOGS:
                lines += [f"{container}: {line}" for line in logs(namespace, name, container, previous)]
        why = "; ".join(reasons) or _unscheduled(pod) or "is not ready yet"
        said = _events_of(name, events, why)
        default = f"kubectl --namespace {namespace} describe pod {name}"
        found.append(_finding(f"Pod {namespace}/{name}", why, [*said, *lines], default))
    return found


def diagnose_owners(events: Sequence[Manifest]) -> list[Finding]:
    """Return workloads that cannot create pods, and volume claims that are not bound, from their events."""
    found = {}
    for event in sorted(events, key=_moment):
        about = event.get("involvedObject") or {}
        stuck = event.get("reason") == "FailedCreate" or about.get("kind") == "PersistentVolumeClaim"
        if stuck and event.get("type") == "Warning":
            title = f"{about.get('kind')} {about.get('namespace')}/{about.get('name')}"
            default = f"kubectl --namespace {about.get('namespace')} describe {about.get('kind')} {about.get('name')}"
            found[title] = _finding(title, str(event.get("message", "")), [], default)
    return list(found.values())


def pods_of(release: str, namespace: str, pods: Sequence[Manifest]) -> list[Manifest]:
    """Return the pods of a Helm release; in Argo CD's own namespace, all pods."""
    if namespace == ARGOCD:
        return list(pods)
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(INSTANCE) == release]


def _finding(title: str, why: str, details: Sequence[str], default: str) -> Finding:
    text = "\n".join([title, why, *details])
    advice = next((entry.text for entry in _ADVICE if re.search(entry.pattern, text, re.IGNORECASE | re.DOTALL)), None)
    return Finding(
        object=title, why=why.strip() or "says nothing", details=list(details), advice=advice or f"See more: {default}"
    )


def _describe(application: str) -> str:
    return f"kubectl --namespace {ARGOCD} describe application {application}"


def _ready(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return True
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions") or [])


def _unscheduled(pod: Manifest) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return f"{condition.get('reason', 'Unscheduled')}: {condition.get('message', '')}"
    return ""


def _troubles(pod: Manifest) -> Iterator[tuple[str, str, bool]]:
    """Yield each container that is not ready: its name, why, and whether its useful logs are of the previous run."""
    status = pod.get("status") or {}
    statuses: list[Mapping[str, Any]] = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    for container in statuses:
        state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated")
        if waiting := state.get("waiting"):
            if waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
                yield container["name"], _because(waiting, last), last is not None
        elif ended := state.get("terminated"):
            if ended.get("exitCode"):
                yield container["name"], _because(ended, None), False
        elif not container.get("ready") and not container.get("started", True):
            yield container["name"], "has not started up yet", False
        elif not container.get("ready"):
            yield container["name"], "runs but is not ready", False


def _because(state: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    code = (last or state).get("exitCode")
    parts = [state.get("reason"), state.get("message"), f"ended with status {code}" if code is not None else None]
    return ": ".join(part.strip() for part in parts if part)


def _events_of(pod: str, events: Sequence[Manifest], known: str) -> list[str]:
    """Return the newest warnings about a pod, without those that repeat `known`."""
    about = [
        event
        for event in events
        if event.get("type") == "Warning" and (event.get("involvedObject") or {}).get("name") == pod
    ]
    said = [
        f"{event.get('reason')}: {message}"
        for event in sorted(about, key=_moment)
        if (message := str(event.get("message", "")).strip().removeprefix("Error: ")) not in known
        and event.get("reason") != "BackOff"
    ]
    return list(dict.fromkeys(said))[-_EVENTS_SHOWN:]


def _moment(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
