"""A cluster in memory: it stores what is applied, and does at once what controllers and Argo CD would do."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gitops.cluster.client import Cluster
from gitops.cluster.kinds import WORKLOADS
from gitops.errors import OutageError
from gitops.programs import ProgramFailedError
from gitops.rendering.applications import applications
from gitops.rendering.manifests import Manifest

WELL = {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}, "operationState": {"phase": "Succeeded"}}
NODE = {
    "metadata": {"name": "node"},
    "status": {
        "allocatable": {"cpu": "3900m", "memory": "7900Mi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
INSTALL = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: applications.argoproj.io}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: argocd-server, namespace: argocd, generation: 1}
spec: {replicas: 1}
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-notifications-secret, namespace: argocd}
type: Opaque
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd}
type: Opaque
"""


class MemoryCluster(Cluster):
    """Answers like a real cluster, from memory.

    `troubles` has the status of applications that do not come up; `outages` is the number of requests that get no
    answer.
    """

    def __init__(self, **troubles: dict[str, Any]) -> None:
        super().__init__("memory")
        self.troubles = troubles
        self.outages = 0
        self.version = "v1.34.2+k3s1"
        self.administrator = True
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.order: list[str] = []
        self.answers: dict[str, str] = {}
        self.operations: dict[str, Manifest] = {}
        # Syncs that already run when bootstrap begins, by application.
        self.running: dict[str, Manifest] = {}
        self.others: dict[str, MemoryCluster] = {}
        self.put("nodes", NODE)

    def put(self, kind: str, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        self.objects[kind, metadata.get("namespace", ""), metadata["name"]] = copy.deepcopy(manifest)

    def context(self) -> str:
        return "memory"

    def server_version(self) -> str:
        return self.version

    def may_do_everything(self) -> bool:
        return self.administrator

    def items(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        if self.outages:
            self.outages -= 1
            raise OutageError("The cluster does not answer: connection refused.")
        wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
        return [
            manifest
            for (found, where, _), manifest in sorted(self.objects.items())
            if found == kind.partition(".")[0]
            and namespace in (None, where)
            and wanted.items() <= (manifest["metadata"].get("labels") or {}).items()
        ]

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        return self.objects.get((kind.partition(".")[0], namespace or "", name))

    def apply(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            self.order.append(f"{manifest['kind']}/{manifest['metadata']['name']}")
            kind, metadata = f"{manifest['kind'].lower()}s", manifest["metadata"]
            before = self.find(kind, metadata["name"], metadata.get("namespace"))
            self.put(kind, self._settled(_with_annotations_of(before, manifest)))
            if manifest["kind"] == "Application" and manifest["metadata"]["name"] == "root":
                self._spread(manifest)

    def create(self, manifest: Manifest) -> bool:
        if self.find("secrets", manifest["metadata"]["name"], manifest["metadata"]["namespace"]):
            return False
        self.apply([manifest])
        return True

    def annotate_all(self, kind: str, namespace: str, annotation: str) -> None:
        """Handle requests for a refresh at once, as Argo CD does, by removing the annotation."""

    def other(self, context: str) -> "MemoryCluster":
        return self.others[context]

    def kinds(self) -> frozenset[str]:
        return frozenset(WORKLOADS)

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        """Patch an object like the API server.

        A controller without replicas loses its pods, a new sync succeeds, and a sync that is told to end fails.
        """
        found = self.find(kind, name, namespace)
        if found is None:
            raise ProgramFailedError(["kubectl", "patch"], 1, f"NotFound: {kind} {name}")
        self.order.append(f"merge {kind.partition('.')[0]}/{name}")
        _merge(found, patch)
        if "operation" in patch:
            self.operations[name] = found.pop("operation")
            found["status"] = WELL
        elif (found.get("status") or {}).get("operationState", {}).get("phase") == "Terminating":
            found.pop("operation")
            found["status"]["operationState"]["phase"] = "Error"
        if found.get("spec", {}).get("replicas") == 0:
            self.delete(["pods"], namespace=namespace, selector=f"app.kubernetes.io/name={name}")

    def delete(
        self,
        kinds: Sequence[str],
        *,
        namespace: str | None = None,
        selector: str = "",
        names: Sequence[str] = (),
        orphan: bool = False,
    ) -> None:
        """Delete objects with their dependents, unless these are orphaned; a finalizer must not be left."""
        for kind in kinds:
            for entry in self.items(kind, namespace, selector):
                name = entry["metadata"]["name"]
                if selector or name in names:
                    self._delete(kind.partition(".")[0], entry["metadata"].get("namespace", ""), name, orphan=orphan)

    def _delete(self, kind: str, namespace: str, name: str, *, orphan: bool = False) -> None:
        entry = self.objects.pop((kind, namespace, name))
        self.order.append(f"{'orphan' if orphan else 'delete'} {kind}/{name}")
        assert not entry["metadata"].get("finalizers"), f"{kind}/{name} would take along what it made"
        for (other, where, dependant), found in list(self.objects.items()):
            owners = found["metadata"].get("ownerReferences") or []
            made = kind in ("applicationsets", "statefulsets") and any(owner["name"] == name for owner in owners)
            if made and not orphan:
                self._delete(other, where, dependant)

    def logs(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 10) -> list[str]:
        return ["no such database: mlflow"] if previous else []

    def answer(self, namespace: str, service: str, port: str, path: str) -> str:
        if f"{namespace}/{service}:{port}{path}" not in self.answers:
            raise OutageError("no endpoints available for service")
        return self.answers[f"{namespace}/{service}:{port}{path}"]

    def kustomized(self, folder: Path) -> list[Manifest]:
        assert (folder / "kustomization.yaml").is_file()
        return list(yaml.safe_load_all(INSTALL))

    def _settled(self, manifest: Manifest) -> Manifest:
        settled = copy.deepcopy(manifest)
        if manifest["kind"] == "CustomResourceDefinition":
            settled["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if manifest["kind"] == "Deployment":
            settled["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}
        if manifest["kind"] == "Application":
            name = manifest["metadata"]["name"]
            settled["status"] = copy.deepcopy(self.troubles.get(name, WELL))
            if name in self.running:
                settled["operation"] = self.running[name]
        return settled

    def _spread(self, root: Manifest) -> None:
        """Create the applications of the chart in apps/, except those that the root leaves out."""
        without = root["spec"]["source"]["helm"]["valuesObject"]["without"]
        for entry in applications(Path(), str(Path(".cache/tools/bin/helm").resolve())).applications:
            if entry.name not in without and entry.origin.partition("(")[2].rstrip(")") not in without:
                metadata = {**entry.manifest["metadata"], "namespace": "argocd"}
                self.put("applications", self._settled({**entry.manifest, "metadata": metadata}))


def _with_annotations_of(before: Manifest | None, manifest: Manifest) -> Manifest:
    """Keep annotations of other managers, as a server-side apply does."""
    theirs = (before or {}).get("metadata", {}).get("annotations") or {}
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "annotations": {**theirs, **(metadata.get("annotations") or {})}}}


def _merge(target: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
