"""The charts' releases as a watched pipeline: which of them are watched, and what is done to them."""

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
    """A ServiceMonitor, by what Prometheus calls the targets of each of its endpoints."""

    title: str
    pools: tuple[str, ...]


class Pipeline(msgspec.Struct, frozen=True):
    """Every release on one cluster; `exporter` and `argocd` say what there is beyond what the charts bring."""

    stack: Stack
    exporter: bool
    argocd: bool

    @property
    def namespaces(self) -> tuple[str, str]:
        """Where it runs."""
        return self.stack.platform, self.stack.serving

    def postgres_release(self) -> Release:
        """Postgres, with its exporter where its image can be had."""
        values = {"exporter": {"enabled": True}, "serviceMonitor": {"enabled": True}} if self.exporter else {}
        return self.stack.postgres_release(values=values)

    def observability_release(self) -> Release:
        """Rules, dashboards, and the monitors of Argo CD where there is one."""
        release = self.stack.observability_release()
        watched = yaml.safe_load(_ARGOCD_MONITORS.read_text(encoding="utf-8")) if self.argocd else {}
        return msgspec.structs.replace(release, values={**release.values, **watched})

    def serving_release(self, version: Version, digest: str = "") -> Release:
        """The API, pinned to a version; `digest` takes the place of the version's own."""
        return self.stack.serving_release(version.pins | ({"digest": digest} if digest else {}))

    def monitors(self) -> list[Monitor]:
        """Return every ServiceMonitor that the releases made."""
        return [
            _monitor(entry)
            for namespace in self.namespaces
            for entry in self.stack.kube.items(namespace, "servicemonitors", _LABELS)
        ]

    def outsider_reaches(self, url: str) -> bool:
        """Say whether a pod of a namespace that no policy lets in gets an answer, a refusal included."""
        question = {"url": url, "seconds": 3}
        script = Script(f"outsider-{secrets.token_hex(3)}", self.stack.outsider, "fetch.py", question)
        answer: dict[str, Any] = self.stack.runner.ask(script)
        return answer["reached"] or "HTTP Error" in answer["why"]

    def scale_mlflow(self, replicas: int) -> None:
        """Take MLflow's pods away, or bring them back, and wait until that is done."""
        self.stack.kube.run("scale", "-n", self.stack.platform, "deployment/mlflow", f"--replicas={replicas}")
        self.stack.kube.wait_rolled_out(self.stack.platform, "deployment/mlflow")

    def callers(self) -> Script:
        """Describe callers who ask for predictions until they are told to stop."""
        load = self.stack.load(rate=20, workers=4)
        return msgspec.structs.replace(load, question={**load.question, "seconds": _CALLERS_STAY_SECONDS})


def has_argocd(kube: Kube) -> bool:
    """Say whether Argo CD runs where bootstrap puts it."""
    return bool(kube.items(ARGOCD, "services", {"app.kubernetes.io/name": "argocd-metrics"}))


def pullable(stack: Stack) -> bool:
    """Say whether the cluster can pull the image of Postgres's exporter, by a pod that need not run."""
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
