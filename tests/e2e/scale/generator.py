"""fortio in a pod: it sends its loads from inside the cluster, through the Service, like any caller there."""

import base64
import json
from pathlib import Path

import msgspec

from tests.e2e.charts.stack import CLIENT, ROW, Stack
from tests.e2e.kube import Manifest
from tests.load import fortio

PROGRAM = Path(".cache/tools/bin/fortio")
_POD = "load-generator"
_FOLDER = "/tmp"  # noqa: S108  (the pod's own)
_BODY = Path(_FOLDER) / "row.json"
_MARGIN_SECONDS = 60


class Generator(msgspec.Struct, frozen=True):
    """A pod that sends single rows to the serving Service."""

    stack: Stack

    def start(self) -> None:
        """Run the pod, and copy the program and the request into it.

        The program is the one that was built here, so the node must have this machine's architecture.
        """
        kube, namespace = self.stack.kube, self.stack.serving
        kube.apply([self._manifest()])
        kube.run("wait", "-n", namespace, f"pod/{_POD}", "--for=condition=Ready", "--timeout=90s", seconds=100)
        self._copy(PROGRAM.read_bytes(), f"{_FOLDER}/fortio")
        self._copy(json.dumps({"features": ROW}).encode(), str(_BODY))
        self._run(f"chmod +x {_FOLDER}/fortio")

    def send(self, *, connections: int, seconds: float, rate: int = 0) -> fortio.Measured:
        """Send a load and return what was measured.

        Raises:
            CommandError: fortio failed; the message holds what it said.
            LoadFailedError: any answer had another status than 200.
        """
        load = fortio.Load(f"http://serving.{self.stack.serving}/predict", _BODY, connections, seconds, rate)
        command = ["exec", "-n", self.stack.serving, _POD, "--", f"{_FOLDER}/fortio", *fortio.arguments(load)]
        return fortio.read(self.stack.kube.run(*command, seconds=seconds + _MARGIN_SECONDS), load)

    def _copy(self, content: bytes, path: str) -> None:
        # `kubectl cp` needs tar in the image; and what goes through its standard input must be text.
        self._run(f"base64 -d > {path}", base64.b64encode(content).decode())

    def _run(self, script: str, stdin: str = "") -> None:
        self.stack.kube.run(
            "exec", "-i", "-n", self.stack.serving, _POD, "--", "sh", "-c", script, stdin=stdin, seconds=120
        )

    def _manifest(self) -> Manifest:
        container: Manifest = {
            "name": "fortio",
            "image": self.stack.images.serving.reference,
            "command": ["sleep", "3600"],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "tmp", "mountPath": _FOLDER}],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _POD, "namespace": self.stack.serving, "labels": CLIENT},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        }
