"""The charts' releases as a monitored pipeline, and what the tests do with them."""

import secrets
from typing import Any

import msgspec
import yaml

from tests.e2e.charts.stack import Stack, Version
from tests.e2e.helm import CHARTS, Release
from tests.e2e.kube import Kube, Manifest
from tests.e2e.pods import Script

ARGOCD = "argocd"
_ARGOCD_MONITORS = CHARTS.parent / "envs" / "platform" / "observability.yaml"
_LABELS = {"app.kubernetes.io/part-of": "ml-pipeline"}
_CALLERS_STAY_SECONDS = 1200


class Monitor(msgspec.Struct, frozen=True):
    """A ServiceMonitor, with the names that Prometheus gives to the targets of its endpoints."""

    title: str
    pools: tuple[str, ...]


class Pipeline(msgspec.Struct, frozen=True):
    """Every release on one cluster. `exporter` and `argocd` tell whether these optional parts exist."""

    stack: Stack
    exporter: bool
    argocd: bool

    @property
    def namespaces(self) -> tuple[str, str]:
        """Return the namespaces of the pipeline."""
        return self.stack.platform, self.stack.serving

    def postgres_release(self) -> Release:
        """Return Postgres, with its exporter if the cluster can pull its image."""
        values = {"exporter": {"enabled": True}, "serviceMonitor": {"enabled": True}} if self.exporter else {}
        return self.stack.postgres_release(values=values)

    def observability_release(self) -> Release:
        """Return rules, dashboards, and the monitors of Argo CD if it exists."""
        release = self.stack.observability_release()
        watched = yaml.safe_load(_ARGOCD_MONITORS.read_text(encoding="utf-8")) if self.argocd else {}
        return msgspec.structs.replace(release, values={**release.values, **watched})

    def serving_release(self, version: Version, digest: str = "") -> Release:
        """Return the API, pinned to a version. `digest` overrides the version's own."""
        return self.stack.serving_release(version.pins | ({"digest": digest} if digest else {}))

    def monitors(self) -> list[Monitor]:
        """Return every ServiceMonitor of the releases."""
        return [
            _monitor(entry)
            for namespace in self.namespaces
            for entry in self.stack.kube.items(namespace, "servicemonitors", _LABELS)
        ]

    def outsider_reaches(self, url: str) -> bool:
        """Return whether a pod in a namespace that no policy lets in gets any answer, even a refusal."""
        question = {"url": url, "seconds": 3}
        script = Script(f"outsider-{secrets.token_hex(3)}", self.stack.outsider, "fetch.py", question)
        answer: dict[str, Any] = self.stack.runner.ask(script)
        return answer["reached"] or "HTTP Error" in answer["why"]

    def scale_mlflow(self, replicas: int) -> None:
        """Scale MLflow to this number of pods, and wait until that is done."""
        self.stack.kube.run("scale", "-n", self.stack.platform, "deployment/mlflow", f"--replicas={replicas}")
        self.stack.kube.wait_rolled_out(self.stack.platform, "deployment/mlflow")

    def callers(self) -> Script:
        """Return the script of callers that request predictions until they are stopped."""
        load = self.stack.load(rate=20, workers=4)
        return msgspec.structs.replace(load, question={**load.question, "seconds": _CALLERS_STAY_SECONDS})


def has_argocd(kube: Kube) -> bool:
    """Return whether Argo CD runs in the namespace of bootstrap."""
    return bool(kube.items(ARGOCD, "services", {"app.kubernetes.io/name": "argocd-metrics"}))


def pullable(stack: Stack) -> bool:
    """Return whether the cluster can pull the image of Postgres's exporter, by a pod that need not run."""
    image = yaml.safe_load((CHARTS / "postgres" / "values.yaml").read_text(encoding="utf-8"))["exporter"]["image"]
    pod = f"pull-{secrets.token_hex(3)}"
    stack.kube.wait(
        "the namespace takes pods",
        lambda: stack.kube.items(stack.platform, "serviceaccounts"),
        seconds=60,
        namespace=stack.platform,
    )
    stack.kube.apply([_pull(stack.platform, pod, f"{image['repository']}:{image['tag']}")])

    def outcome() -> str | None:
        (status,) = stack.kube.get(stack.platform, "pod", pod)["status"].get("containerStatuses") or [{}]
        reason = status.get("state", {}).get("waiting", {}).get("reason", "")
        if reason in {"ErrImagePull", "ImagePullBackOff"}:
            return "refused"
        return "pulled" if status.get("imageID") or reason.endswith(("ContainerError", "CrashLoopBackOff")) else None

    found = stack.kube.wait(
        f"the image {image['repository']} is pulled or refused",
        outcome,
        seconds=120,
        namespace=stack.platform,
        names=(pod,),
    )
    stack.kube.run("delete", "pod", "-n", stack.platform, pod, "--wait=false", "--grace-period=1")
    return found == "pulled"


def _monitor(manifest: Manifest) -> Monitor:
    title = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
    endpoints = range(len(manifest["spec"]["endpoints"]))
    return Monitor(title, tuple(f"serviceMonitor/{title}/{number}" for number in endpoints))


def _pull(namespace: str, name: str, image: str) -> Manifest:
    container: Manifest = {
        "name": "pull",
        "image": image,
        "args": ["--version"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
