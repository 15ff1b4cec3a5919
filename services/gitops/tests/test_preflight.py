"""Before anything is changed in a cluster, `gitops bootstrap` says what it is, and what may become a problem."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from gitops.cluster.preflight import CORES, MEMORY, check_cluster
from gitops.errors import BadInputError
from gitops.rendering.manifests import Manifest

DEFAULT = {"metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}


def node(cpu: str = "4", memory: str = "8Gi", ready: str = "True") -> Manifest:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": "node"},
        "status": {"allocatable": {"cpu": cpu, "memory": memory}, "conditions": conditions},
    }


@dataclass
class Asked:
    """The answers of a cluster."""

    version: str = "v1.34.2+k3s1"
    administrator: bool = True
    nodes: list[Manifest] = field(default_factory=lambda: [node()])
    classes: list[Manifest] = field(default_factory=lambda: [DEFAULT])

    def server_version(self) -> str:
        return self.version

    def may_do_everything(self) -> bool:
        return self.administrator

    def items(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        del namespace, selector
        return self.nodes if kind == "nodes" else self.classes

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        del kind, name, namespace
        return {"metadata": {}}


def test_a_cluster_with_everything_has_no_notes() -> None:
    assert check_cluster(Asked()) == ("Kubernetes v1.34.2+k3s1, 1 node, 4 cores, 8.0 GiB available", [])


@pytest.mark.parametrize(
    "small", [node(cpu=f"{1000 * CORES - 1}m"), node(memory=str(MEMORY - 1))], ids=["cores", "memory"]
)
def test_a_small_cluster_gets_a_note_with_what_the_platform_requests(small: Manifest) -> None:
    _, notes = check_cluster(Asked(nodes=[small]))
    [note] = notes
    assert f"up to {CORES} cores and {MEMORY / 2**30:g} GiB" in note
    assert check_cluster(Asked(nodes=[small, node()]))[1] == []


def test_a_cluster_without_a_default_storage_class_gets_a_note() -> None:
    [note] = check_cluster(Asked(classes=[{"metadata": {"name": "other"}}]))[1]
    assert "storage.storageClass" in note


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"version": "unknown"}, "1.32 or newer is needed: upgrade it"),
        ({"nodes": [node(ready="Unknown")]}, "kubectl describe nodes"),
    ],
)
def test_a_cluster_that_says_nothing_useful_is_refused(changes: dict[str, Any], advice: str) -> None:
    with pytest.raises(BadInputError, match=advice):
        check_cluster(Asked(**changes))
