"""fortio in a pod: it sends its load from inside the cluster through the Service, like other callers."""

import base64
import json
from pathlib import Path

import msgspec

from bench import fortio
from tests.e2e.charts.stack import CLIENT, ROW, Stack
from tests.e2e.pods import Script

PROGRAM = Path(".cache/tools/bin/fortio")
_POD = "load-generator"
_FOLDER = "/tmp"  # noqa: S108  (the pod's own)
_BODY = Path(_FOLDER) / "row.json"
_MARGIN_SECONDS = 60
_LIFE_SECONDS = 3600


class Generator(msgspec.Struct, frozen=True):
    """A pod that sends single rows to the serving Service."""

    stack: Stack

    def start(self) -> None:
        """Run the pod, and copy the program and the request into it.

        The program was built on this machine, so the node must have the same architecture.
        """
        script = Script(_POD, self.stack.serving, "wait.py", {"seconds": _LIFE_SECONDS}, CLIENT)
        self.stack.runner.start(script)
        self.stack.runner.wait_running(script, seconds=90)
        self._copy(PROGRAM.read_bytes(), f"{_FOLDER}/fortio")
        self._copy(json.dumps({"features": ROW}).encode(), str(_BODY))
        self._run(f"chmod +x {_FOLDER}/fortio")

    def send(self, *, connections: int, seconds: float, rate: int = 0) -> fortio.Measured:
        """Send a load and return the measurements.

        Raises:
            CommandError: fortio failed. The message contains its output.
            LoadFailedError: An answer had a status other than 200.
        """
        load = fortio.Load(f"http://serving.{self.stack.serving}/predict", _BODY, connections, seconds, rate)
        command = ["exec", "-n", self.stack.serving, _POD, "--", f"{_FOLDER}/fortio", *fortio.arguments(load)]
        return fortio.read(self.stack.kube.run(*command, seconds=seconds + _MARGIN_SECONDS), load)

    def _copy(self, content: bytes, path: str) -> None:
        # `kubectl cp` needs tar in the image, and the standard input of exec must be text.
        self._run(f"base64 -d > {path}", base64.b64encode(content).decode())

    def _run(self, script: str, stdin: str = "") -> None:
        self.stack.kube.run(
            "exec", "-i", "-n", self.stack.serving, _POD, "--", "sh", "-c", script, stdin=stdin, seconds=120
        )
