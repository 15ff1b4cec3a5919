"""Argo Rollouts on the cluster under test, and the state of a Rollout."""

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


class RolloutState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a Rollout."""

    phase: str
    aborted: bool
    stable: str
    """Hash of the pods of the stable version."""
    wanted: str
    """Hash of the pods that git wants."""


def install(pipeline: Pipeline) -> str:
    """Install the controller with the platform's switch, and a Prometheus if the cluster cannot have the stack.

    If the cluster cannot reach the controller's chart, ROLLOUTS_INSTALL_MANIFEST is applied in the namespace that
    bootstrap makes for the chart.

    Returns:
        How the controller was installed.
    """
    fork, kube = pipeline.fork, pipeline.kube
    manifest = os.environ.get("ROLLOUTS_INSTALL_MANIFEST", "")
    fork.edit("platform.yaml", _switched_on)
    fork.commit("Release versions as canaries")
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
    """Set the switch, and what a migration from version 0.1 cannot know: the kind of forge, and no minimum age."""
    platform.update(rollouts=True, forge="gitea")
    for environment in platform["environments"]:
        environment.pop("minAge", None)


def kill(kube: Kube) -> None:
    """Kill the controller at once, and keep it stopped."""
    kube.run("scale", "-n", NAMESPACE, "deployment/argo-rollouts", "--replicas=0")
    pods = f"app.kubernetes.io/name={APPLICATION}"
    kube.run("delete", "pods", "-n", NAMESPACE, "-l", pods, "--force", "--grace-period=0", "--timeout=60s", seconds=70)


def restart(kube: Kube) -> None:
    """Start the controller again."""
    kube.run("scale", "-n", NAMESPACE, "deployment/argo-rollouts", "--replicas=1")
    kube.wait_rolled_out(NAMESPACE, "deployment/argo-rollouts")


def take_away(kube: Kube) -> None:
    """Remove what `install` made outside the platform's other namespaces. A controller that it did not install stays.

    The namespace with the mark goes last, so that the next run continues after an interruption.
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


def state_of(kube: Kube, place: Place) -> RolloutState | None:
    """Return the state of a service's Rollout, or None without a Rollout or if its controller lags behind."""
    try:
        rollout = kube.get(place.namespace, ROLLOUTS, place.name)
    except CommandError:
        return None
    status = rollout.get("status", {})
    if status.get("observedGeneration") != str(rollout["metadata"]["generation"]):
        return None
    return RolloutState(
        phase=status.get("phase", ""),
        aborted=bool(status.get("abort")),
        stable=status.get("stableRS", ""),
        wanted=status.get("currentPodHash", ""),
    )


def analyses(kube: Kube, place: Place, pods: str) -> dict[int, str]:
    """Return the phase of each analysis of one version, by the step of the Rollout. The first step is 0."""
    found = kube.items(place.namespace, RUNS, {_HASH: pods})
    return {int(run["metadata"]["labels"]["step-index"]): run.get("status", {}).get("phase", "") for run in found}


def explained(kube: Kube, place: Place) -> str:
    """Return the Rollout and all of its analyses in full, with the logs of its controller and of Argo CD's."""
    objects = [kube.run("get", "-n", place.namespace, kind, "-o", "yaml") for kind in (ROLLOUTS, RUNS)]
    controllers = ((NAMESPACE, "deployment/argo-rollouts"), ("argocd", "statefulset/argocd-application-controller"))
    return "\n".join([*objects, *(kube.logs(namespace, name, lines=400) for namespace, name in controllers)])
