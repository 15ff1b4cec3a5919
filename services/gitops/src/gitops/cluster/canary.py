"""The state of a service's canary, from its Rollout and the analysis."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.kinds import ROLLOUTS
from gitops.pins.release import Release
from gitops.pins.wording import percent
from gitops.platform.targets import Target
from gitops.rendering.manifests import Manifest

_RUNS, _SETS = "analysisruns.argoproj.io", "replicasets.apps"
_HASH = "rollouts-pod-template-hash"
_BAD = ("Failed", "Error")


class Runs(Struct, frozen=True, kw_only=True):
    """What pods run: the image's digest, and the model's version and digest."""

    image: str
    version: str
    digest: str

    def is_release(self, release: Release) -> bool:
        """Whether a release pins the same image and model."""
        return (self.image, self.version, self.digest) == (
            release.image.digest,
            release.model.version,
            release.model.digest,
        )


class Canary(Struct, frozen=True, kw_only=True):
    """The state of a canary.

    `phase` is the phase of Argo Rollouts: `Progressing`, `Paused`, `Healthy` or `Degraded`. `weight` is the share of
    pods or traffic of the new version, in percent. `wanted` is what the Rollout should run, `stable` what keeps
    answering if the canary fails. `why` has the figures of the analysis, or the message of the controller.
    """

    phase: str
    aborted: bool
    weight: int
    why: str
    wanted: Runs | None
    stable: Runs | None

    @property
    def ended(self) -> bool:
        """Whether the rollout is complete and healthy."""
        return self.phase == "Healthy" and not self.aborted

    def __str__(self) -> str:
        """Return a description for people, such as `aborted: errors 4.1 % against 0.1 %`."""
        if self.aborted:
            return f"aborted: {self.why}"
        if self.ended:
            return ""
        stands = "paused" if self.phase == "Paused" else "under way"
        return f"canary {stands} at {self.weight} %" + (f": {self.why}" if self.why else "")


def canary_of(cluster: Cluster, target: Target) -> Canary | None:
    """Return the state of a target's canary; None if it has no Rollout in this cluster.

    Raises:
        OutageError: The cluster does not answer.
    """
    rollout = cluster.find(ROLLOUTS, target.release_name, target.namespace)
    if rollout is None:
        return None
    status = rollout.get("status") or {}
    aborted = bool(status.get("abort"))
    runs = cluster.items(_RUNS, target.namespace, f"{_HASH}={status.get('currentPodHash', '')}")
    sets = cluster.items(_SETS, target.namespace, f"{_HASH}={status.get('stableRS', '')}")
    weights = ((status.get("canary") or {}).get("weights") or {}).get("canary") or {}
    return Canary(
        phase=str(status.get("phase") or "Progressing"),
        aborted=aborted,
        weight=int(weights.get("weight") or _weight(rollout)),
        why="; ".join(figures(runs)) or _said(status),
        wanted=_runs(rollout),
        stable=next((found for entry in sets if _owned(entry, rollout) and (found := _runs(entry))), None),
    )


def figures(runs: Sequence[Manifest]) -> Iterator[str]:
    """Yield a phrase for each metric that the analysis did not pass, and one if Prometheus gives no answer."""
    results = [result for run in runs for result in (run.get("status") or {}).get("metricResults") or []]
    for result in results:
        phase = result.get("phase")
        if phase in (*_BAD, "Inconclusive"):
            yield _figure(result.get("name", ""), phase, result)
    away = [result for result in results if result.get("phase") == "Running" and result.get("consecutiveError")]
    if away:
        last = (away[0].get("measurements") or [{}])[-1]
        yield f"waits, because Prometheus gives no answer: {last.get('message') or 'no reason given'}"


def _said(status: Manifest) -> str:
    """Return the controller's message for a canary that has stopped; empty while it progresses."""
    text = " ".join(str(status.get("message") or "").split())
    return text if status.get("abort") or status.get("phase") != "Progressing" else ""


def _figure(name: str, phase: str, result: Manifest) -> str:
    if phase == "Inconclusive":
        return f"{name}: too few requests to decide"
    values = _last_bad(result)
    if phase == "Error" or values is None:
        return {"smoke": "the smoke test failed", "alias": "the alias could not be moved"}.get(
            name, f"{name}: {result.get('message') or 'not measured'}"
        )
    return _measured(name, values)


def _measured(name: str, values: Sequence[float]) -> str:
    match name, values:
        case "errors", [canary, stable]:
            return f"errors {percent(canary)} against {percent(stable)}"
        case "latency", [canary, stable]:
            return f"latency {1000 * canary:.3g} ms against {1000 * stable:.3g} ms"
        case "answers", [psi]:
            return f"another mix of answers, PSI {psi:.2f}"
        case "pods", [count]:
            return f"{count:.0f} pods restarted or not ready"
    return f"{name} {', '.join(f'{value:.3g}' for value in values)}"


def _last_bad(result: Manifest) -> list[float] | None:
    """Return the values of the last failed measurement; None if it has no numbers, as that of a Job."""
    for measured in reversed(result.get("measurements") or []):
        if measured.get("phase") == "Failed":
            return _numbers(measured.get("value") or "")
    return None


def _numbers(text: str) -> list[float] | None:
    try:
        found = [float(part) for part in text.strip("[]").split(",")]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def _weight(rollout: Manifest) -> int:
    """Return the weight of the current step, for a Rollout without traffic routing: its status gives none."""
    steps = ((rollout["spec"].get("strategy") or {}).get("canary") or {}).get("steps") or []
    done = (rollout.get("status") or {}).get("currentStepIndex") or 0
    said = [step["setWeight"] for step in steps[: done + 1] if "setWeight" in step]
    return said[-1] if said else 0


def _owned(entry: Manifest, rollout: Manifest) -> bool:
    return any(
        owner.get("name") == rollout["metadata"]["name"] for owner in entry["metadata"].get("ownerReferences") or []
    )


def _runs(workload: Manifest) -> Runs | None:
    """Return what the pods of a workload run; None if their model is not pinned."""
    containers: list[dict[str, Any]] = workload["spec"]["template"]["spec"]["containers"]
    serving = next((entry for entry in containers if entry["name"] == "serving"), None)
    if serving is None:
        return None
    said = {entry["name"]: entry.get("value", "") for entry in serving.get("env") or []}
    if not said.get("MODEL_VERSION"):
        return None
    return Runs(
        image=serving["image"].partition("@")[2], version=said["MODEL_VERSION"], digest=said.get("MODEL_DIGEST", "")
    )
