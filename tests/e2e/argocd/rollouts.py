"""Argo Rollouts on the cluster under test, and what a Rollout of it says."""

import os
from typing import Any

import msgspec

from gitops.cluster.secrets import OWNED
from tests.e2e.argocd import prometheus
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.places import Place
from tests.e2e.kube import CommandError, Kube

APPLICATION = NAMESPACE = "argo-rollouts"
ROLLOUTS, RUNS = "rollouts.argoproj.io", "analysisruns.argoproj.io"
_KINDS = ("rollouts", "analysisruns", "analysistemplates", "clusteranalysistemplates", "experiments")
_HASH = "rollouts-pod-template-hash"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a Rollout stands."""

    phase: str
    aborted: bool
    stable: str
    """Hash of the pods that answer whatever happens."""
    wanted: str
    """Hash of the pods that git wants."""


def install(pipeline: Pipeline) -> str:
    """Bring the controller by the platform's switch, and a Prometheus where the cluster cannot have the stack.

    A cluster that does not reach the controller's chart gets ROLLOUTS_INSTALL_MANIFEST, in the namespace that bootstrap
    makes for the chart.

    Returns:
        How the controller came.
    """
    fork, kube = pipeline.fork, pipeline.kube
    manifest = os.environ.get("ROLLOUTS_INSTALL_MANIFEST", "")
    fork.edit("platform.yaml", _switched_on)
    fork.commit("Let versions in by degrees")
    without = [*pipeline.without, *([APPLICATION] if manifest else [])]
    fork.gitops("bootstrap", *(f"--without={name}" for name in without), seconds=400)
    if manifest:
        kube.run("apply", "--server-side", "--force-conflicts", "-n", NAMESPACE, "-f", manifest)
    kube.wait_rolled_out(NAMESPACE, "deployment/argo-rollouts")
    if "monitoring" in pipeline.without:
        image = pipeline.images.prometheus
        assert image, "this cluster does not get kube-prometheus-stack: make e2e-prometheus"
        prometheus.start(kube, image)
    return "its manifest" if manifest else "its chart"


def _switched_on(platform: dict[str, Any]) -> None:
    """The switch, and what a migration from version 0.1 cannot know: which forge it is, and that nobody waits here."""
    platform.update(rollouts=True, forge="gitea")
    for environment in platform["environments"]:
        environment.pop("minAge", None)


def kill(kube: Kube) -> None:
    """Kill the controller at once, and keep it away."""
    kube.run("scale", "-n", NAMESPACE, "deployment/argo-rollouts", "--replicas=0")
    pods = f"app.kubernetes.io/name={APPLICATION}"
    kube.run("delete", "pods", "-n", NAMESPACE, "-l", pods, "--force", "--grace-period=0", "--timeout=60s", seconds=70)


def restart(kube: Kube) -> None:
    """Bring the controller back."""
    kube.run("scale", "-n", NAMESPACE, "deployment/argo-rollouts", "--replicas=1")
    kube.wait_rolled_out(NAMESPACE, "deployment/argo-rollouts")


def take_away(kube: Kube) -> None:
    """Remove what `install` made beside the platform's other namespaces; a controller of somebody else's stays.

    The namespace goes last, so that an interruption leaves its mark to the next run.
    """
    prometheus.take_away(kube)
    owned = ",".join(f"{key}={value}" for key, value in OWNED.items())
    if f"namespace/{NAMESPACE}" not in kube.run("get", "namespaces", "-l", owned, "-o", "name").split():
        return
    part = f"app.kubernetes.io/part-of={APPLICATION}"
    kube.run("delete", "clusterroles,clusterrolebindings", "-l", part, "--timeout=60s", seconds=70)
    definitions = [f"{kind}.argoproj.io" for kind in _KINDS]
    kube.run("delete", "customresourcedefinitions", *definitions, "--ignore-not-found", "--timeout=60s", seconds=70)
    kube.run("delete", "namespace", NAMESPACE, "--timeout=120s", seconds=130)


def standing(kube: Kube, place: Place) -> Standing | None:
    """How a service's Rollout stands; None where there is none, or its controller has not seen its newest state."""
    try:
        rollout = kube.get(place.namespace, ROLLOUTS, place.name)
    except CommandError:
        return None
    status = rollout.get("status", {})
    if status.get("observedGeneration") != str(rollout["metadata"]["generation"]):
        return None
    return Standing(
        phase=status.get("phase", ""),
        aborted=bool(status.get("abort")),
        stable=status.get("stableRS", ""),
        wanted=status.get("currentPodHash", ""),
    )


def analyses(kube: Kube, place: Place, pods: str) -> dict[int, str]:
    """How each analysis of one version ended, by the step of the Rollout that it is; the first step is 0."""
    found = kube.items(place.namespace, RUNS, {_HASH: pods})
    return {int(run["metadata"]["labels"]["step-index"]): run.get("status", {}).get("phase", "") for run in found}


def explained(kube: Kube, place: Place) -> str:
    """The Rollout and every analysis of it in full, with what its controller and that of Argo CD wrote."""
    objects = [kube.run("get", "-n", place.namespace, kind, "-o", "yaml") for kind in (ROLLOUTS, RUNS)]
    controllers = ((NAMESPACE, "deployment/argo-rollouts"), ("argocd", "statefulset/argocd-application-controller"))
    return "\n".join([*objects, *(kube.logs(namespace, name, lines=400) for namespace, name in controllers)])
