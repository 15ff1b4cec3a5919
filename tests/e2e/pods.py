"""Pods that run scripts inside the cluster, under its network policies, and answer in JSON."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.kube import CommandError, Kube, Manifest

SCRIPTS = Path(__file__).parent / "scripts"
CONFIG_MAP = "e2e-scripts"


def scripts_config_map(namespace: str) -> Manifest:
    """Return the ConfigMap with every script, which is made once in each namespace."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": namespace},
        "data": {path.name: path.read_text() for path in sorted(SCRIPTS.glob("*.py"))},
    }


class Script(msgspec.Struct, frozen=True):
    """A pod that runs one of `scripts/`. `question` is its input as JSON; the last line of its log is the answer."""

    name: str
    namespace: str
    script: str
    question: Mapping[str, Any]
    labels: Mapping[str, str] = {}
    secret: str = ""
    """A Secret whose keys become environment variables."""
    never_ready: bool = False
    """For a pod with the labels of another one: it must not join that pod's Service."""


class Runner(msgspec.Struct, frozen=True):
    """Runs scripts in pods of an image that has Python."""

    kube: Kube
    image: str

    def ask(self, script: Script, *, seconds: float = 90) -> Any:
        """Run a script until it ends, and return its answer.

        Raises:
            AssertionError: The script failed. The message contains its log.
            TimeoutError: It did not end within `seconds`.
        """
        self.start(script)
        return self.answer(script, seconds=seconds)

    def start(self, script: Script) -> None:
        """Create the script's pod."""
        self.kube.apply([self._manifest(script)])

    def answer(self, script: Script, *, seconds: float = 90) -> Any:
        """Wait for the end of a started script, return its answer and delete its pod."""

        def ended() -> str | None:
            phase = self._phase(script)
            return phase if phase in {"Succeeded", "Failed"} else None

        phase = self.kube.wait(
            f"Pod {script.name} ends", ended, seconds=seconds, namespace=script.namespace, names=(script.name,)
        )
        log = self.kube.logs(script.namespace, script.name)
        if phase != "Succeeded":
            raise AssertionError(f"{script.script} failed in pod {script.namespace}/{script.name}:\n{log}")
        self.kube.run("delete", "pod", "-n", script.namespace, script.name, "--wait=false")
        return json.loads(log.strip().rpartition("\n")[2])

    def wait_running(self, script: Script, *, seconds: float = 60) -> None:
        """Wait until the pod of a started script runs."""
        self.kube.wait(
            f"Pod {script.name} runs",
            lambda: self._phase(script) == "Running",
            seconds=seconds,
            namespace=script.namespace,
            names=(script.name,),
        )

    def stop(self, script: Script) -> None:
        """Tell a script that runs until it is stopped to end. Only exec reaches into the pod."""
        self.kube.run("exec", "-n", script.namespace, script.name, "--", "touch", "/tmp/stop")  # noqa: S108  in the pod

    def _phase(self, script: Script) -> str:
        return self.kube.run("get", "pod", "-n", script.namespace, script.name, "-o", "jsonpath={.status.phase}")

    def _manifest(self, script: Script) -> Manifest:
        probe = {"exec": {"command": ["/does/not/exist"]}, "periodSeconds": 3600}
        container: Manifest = {
            "name": "script",
            "image": self.image,
            "command": ["python", f"/scripts/{script.script}", json.dumps(script.question)],
            "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
            "envFrom": [{"secretRef": {"name": script.secret}}] if script.secret else [],
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"cpu": "1", "memory": "256Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
            **({"readinessProbe": probe} if script.never_ready else {}),
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": script.name, "namespace": script.namespace, "labels": dict(script.labels)},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "runAsGroup": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [
                    {"name": "scripts", "configMap": {"name": CONFIG_MAP}},
                    {"name": "tmp", "emptyDir": {"sizeLimit": "32Mi"}},
                ],
            },
        }


@contextlib.contextmanager
def running(runner: Runner, script: Script, *, seconds: float = 60) -> Iterator[dict[str, Any]]:
    """Run a script until the block ends. The yielded dictionary contains its answer after the block."""
    runner.start(script)
    answer: dict[str, Any] = {}
    try:
        runner.wait_running(script)
        yield answer
        runner.stop(script)
        answer.update(runner.answer(script, seconds=seconds))
    except BaseException:
        with contextlib.suppress(CommandError):
            runner.kube.delete(script.namespace, f"pod/{script.name}")
        raise
