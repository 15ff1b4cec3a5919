"""A cluster in memory: keeps what is applied, and does what controllers and Argo CD would do at once."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gitops.cluster.client import Cluster
from gitops.errors import OutageError
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
"""


class MemoryCluster(Cluster):
    """Answers what the class that it stands in for would, from memory.

    `troubles` holds the status of applications that do not come up; `outages` is how many questions go unanswered.
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
            self.put(f"{manifest['kind'].lower()}s", self._settled(manifest))
            if manifest["kind"] == "Application":
                self._spread(manifest)

    def create(self, manifest: Manifest) -> bool:
        if self.find("secrets", manifest["metadata"]["name"], manifest["metadata"]["namespace"]):
            return False
        self.apply([manifest])
        return True

    def annotate_all(self, kind: str, namespace: str, annotation: str) -> None:
        """Argo CD takes the look that is asked for at once, and the annotation away."""

    def logs(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 10) -> list[str]:
        return ["no such database: mlflow"] if previous else []

    def answer(self, namespace: str, service: str, path: str) -> str:
        if f"{namespace}/{service}{path}" not in self.answers:
            raise OutageError("no endpoints available for service")
        return self.answers[f"{namespace}/{service}{path}"]

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
            settled["status"] = self.troubles.get(manifest["metadata"]["name"], WELL)
        return settled

    def _spread(self, root: Manifest) -> None:
        """Make the applications of apps/ that the root does not leave out."""
        source = root["spec"]["source"]
        excluded = re.findall(r"[\w-]+\.yaml", (source.get("directory") or {}).get("exclude", ""))
        for path in sorted(Path(source["path"]).glob("*.yaml")):
            for manifest in yaml.safe_load_all(path.read_text()):
                if path.name not in excluded and manifest["kind"] == "Application":
                    self.put("applications", self._settled(manifest))
