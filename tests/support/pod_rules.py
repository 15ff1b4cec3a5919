"""Rules for one manifest: what its pods may do, and what it may reveal.

Each takes a manifest and yields one sentence for each violation. `restricted` follows the Pod Security Standards
(https://kubernetes.io/docs/concepts/security/pod-security-standards/), the others are the charts' own conventions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.support.manifests import Manifest, containers, metadata, name_of, pod_template, strings, volumes

VOLUME_TYPES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
OBJECT_LABELS = ("name", "instance", "component", "part-of", "version", "managed-by")
POD_LABELS = ("name", "instance", "component", "part-of")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY")
_POINTS_ELSEWHERE = re.compile(r"_(FILE|DIR|PATH|NAME)$")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]*:(?!\$\()[^@/\s]+@")


def restricted(manifest: Manifest) -> Iterator[str]:
    """Pods meet Pod Security `restricted`, including their init containers."""
    pod = pod_template(manifest)
    if pod is None:
        return
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"{pod.owner}: {key} must not be set"
    for volume in pod.spec.get("volumes") or []:
        for kind in set(volume) - {"name"} - VOLUME_TYPES:
            yield f"{pod.owner}: volume {volume['name']} must not be a {kind}"
    context = pod.spec.get("securityContext") or {}
    if context.get("sysctls"):
        yield f"{pod.owner}: sysctls must not be set"
    for where, container in containers(pod):
        yield from _restricted_container(where, container, context)


def _restricted_container(where: str, container: dict[str, Any], pod_context: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    context = {**pod_context, **own}
    capabilities = own.get("capabilities") or {}
    wrong = {
        "privileged must not be set": bool(own.get("privileged")),
        "allowPrivilegeEscalation must be false": own.get("allowPrivilegeEscalation") is not False,
        "capabilities must drop ALL": "ALL" not in (capabilities.get("drop") or []),
        "capabilities must not be added": bool(set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}),
        "runAsNonRoot must be true": context.get("runAsNonRoot") is not True,
        "runAsUser must not be 0": context.get("runAsUser") == 0,
        "seccompProfile must be RuntimeDefault": (context.get("seccompProfile") or {}).get("type")
        not in {"RuntimeDefault", "Localhost"},
        "procMount must not be set": own.get("procMount", "Default") != "Default",
        "host ports must not be used": any(port.get("hostPort") for port in container.get("ports") or []),
    }
    yield from (f"{where}: {sentence}" for sentence, holds in wrong.items() if holds)


def numeric_user(manifest: Manifest) -> Iterator[str]:
    """Pods have a numeric user: from a name, the kubelet cannot tell that it is not root."""
    pod = pod_template(manifest)
    if pod is None:
        return
    context = pod.spec.get("securityContext") or {}
    for where, container in containers(pod):
        if not isinstance({**context, **(container.get("securityContext") or {})}.get("runAsUser"), int):
            yield f"{where}: runAsUser must be a number"


def read_only_root(manifest: Manifest) -> Iterator[str]:
    """Containers write only to volumes."""
    pod = pod_template(manifest)
    for where, container in containers(pod) if pod else ():
        if (container.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"{where}: readOnlyRootFilesystem must be true"


def pinned_images(manifest: Manifest) -> Iterator[str]:
    """Images have a digest or a tag other than `latest`."""
    pod = pod_template(manifest)
    for where, container in containers(pod) if pod else ():
        image = container["image"]
        name, _, digest = image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        if tag == "latest" or not (tag or digest):
            yield f"{where}: image {image} must carry a digest or a tag other than latest"


def bounded_resources(manifest: Manifest) -> Iterator[str]:
    """Containers have requests and limits of CPU and memory."""
    pod = pod_template(manifest)
    for where, container in containers(pod) if pod else ():
        resources = container.get("resources") or {}
        for key in ("requests", "limits"):
            for what in ("cpu", "memory"):
                if what not in (resources.get(key) or {}):
                    yield f"{where}: resources.{key}.{what} must be set"


def probed(manifest: Manifest) -> Iterator[str]:
    """Containers that keep running have all three probes."""
    pod = pod_template(manifest)
    if pod is None or not pod.long_running:
        return
    for container in pod.spec["containers"]:
        for probe in PROBES:
            if probe not in container:
                yield f"{pod.owner}: container {container['name']}: {probe} must be set"


def no_token(manifest: Manifest) -> Iterator[str]:
    """Neither pods nor service accounts mount an API token."""
    pod = pod_template(manifest)
    if pod is not None and pod.spec.get("automountServiceAccountToken") is not False:
        yield f"{pod.owner}: automountServiceAccountToken must be false in the pod"
    if manifest["kind"] == "ServiceAccount" and manifest.get("automountServiceAccountToken") is not False:
        yield f"{name_of(manifest)}: automountServiceAccountToken must be false"


def no_service_links(manifest: Manifest) -> Iterator[str]:
    """Pods have no service links: a Service called mlflow would set MLFLOW_PORT to tcp://..., which MLflow reads."""
    pod = pod_template(manifest)
    if pod is not None and pod.spec.get("enableServiceLinks") is not False:
        yield f"{pod.owner}: enableServiceLinks must be false"


def no_secrets(manifest: Manifest) -> Iterator[str]:
    """Nothing secret is rendered: no Secret, no variable with a secret's name, no password in an address."""
    if manifest["kind"] == "Secret":
        yield f"{name_of(manifest)}: a Secret must not be rendered; name an existing one"
    pod = pod_template(manifest)
    for where, container in containers(pod) if pod else ():
        for variable in container.get("env") or []:
            name = variable["name"]
            if variable.get("value") and _SECRET_NAME.search(name) and not _POINTS_ELSEWHERE.search(name):
                yield f"{where}: {name} must come from a Secret, not be in the manifest"
    for text in strings(manifest):
        if _PASSWORD_IN_ADDRESS.search(text):
            yield f"{name_of(manifest)}: an address must not hold a password"


def labelled(manifest: Manifest) -> Iterator[str]:
    """Objects and pods have the app.kubernetes.io labels, and objects also the chart's label."""
    labels = metadata(manifest, "labels")
    for key in (*(f"app.kubernetes.io/{name}" for name in OBJECT_LABELS), "helm.sh/chart"):
        if key not in labels:
            yield f"{name_of(manifest)}: label {key} must be set"
    pod = pod_template(manifest)
    for name in POD_LABELS if pod else ():
        if pod and f"app.kubernetes.io/{name}" not in pod.labels:
            yield f"{pod.owner}: label app.kubernetes.io/{name} must be set on its pods"


def named(manifest: Manifest) -> Iterator[str]:
    """Names and label values are valid in Kubernetes.

    The name of a CronJob or StatefulSet must be shorter, because its Jobs or revisions add eleven characters. The name
    of a Service starts with a letter.
    """
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    longest = 52 if kind in {"CronJob", "StatefulSet"} else 63
    if len(name) > longest or not _NAME.fullmatch(name):
        yield f"{name_of(manifest)}: its name must be a DNS label of at most {longest} characters"
    if kind == "Service" and name[:1].isdigit():
        yield f"{name_of(manifest)}: its name must start with a letter"
    for key, value in metadata(manifest, "labels").items():
        if not _LABEL_VALUE.fullmatch(value):
            yield f"{name_of(manifest)}: label {key} must not be {value!r}"


def hooked_twice(manifest: Manifest) -> Iterator[str]:
    """Hooks have the annotations of both Argo CD and Helm, and both create them again each time.

    A test that only Helm runs is also a hook for Argo CD, which never runs it.
    """
    annotations = metadata(manifest, "annotations")
    argo, helm = "argocd.argoproj.io/hook", "helm.sh/hook"
    if (argo in annotations) != (helm in annotations) and annotations.get(helm) != "test":
        yield f"{name_of(manifest)}: a hook must carry both {argo} and {helm}"
    if helm in annotations and annotations.get(f"{helm}-delete-policy") != "before-hook-creation":
        yield f"{name_of(manifest)}: {helm}-delete-policy must be before-hook-creation"
    if annotations.get(argo, "Skip") != "Skip" and annotations.get(f"{argo}-delete-policy") != "BeforeHookCreation":
        yield f"{name_of(manifest)}: {argo}-delete-policy must be BeforeHookCreation"


def mounted(manifest: Manifest) -> Iterator[str]:
    """Containers mount only volumes of the pod, and every volume is mounted."""
    pod = pod_template(manifest)
    if pod is None:
        return
    had, used = volumes(manifest, pod), set()
    for where, container in containers(pod):
        for mount in container.get("volumeMounts") or []:
            used.add(mount["name"])
            if mount["name"] not in had:
                yield f"{where}: volume {mount['name']} is mounted but does not exist"
    for name in sorted(had - used):
        yield f"{pod.owner}: volume {name} exists but is not mounted"


RULES = (
    restricted,
    numeric_user,
    read_only_root,
    pinned_images,
    bounded_resources,
    probed,
    no_token,
    no_service_links,
    no_secrets,
    labelled,
    named,
    hooked_twice,
    mounted,
)
