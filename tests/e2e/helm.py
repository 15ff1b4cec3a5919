"""Run Helm 4, as a person would."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.kube import CommandError, Kube, run_program

CHARTS = Path(__file__).resolve().parents[2] / "charts"


class Release(msgspec.Struct, frozen=True):
    """A chart's release: the chart, the release's name and namespace, and the values."""

    name: str
    chart: str
    namespace: str
    values: Mapping[str, Any]


class Helm(msgspec.Struct, frozen=True):
    """Helm on one cluster."""

    kube: Kube

    def judge(self, release: Release) -> list[str]:
        """Let the API server validate every object of a release without creating it, and return their names.

        Helm's own `--dry-run=server` only renders. A warning, such as that of Pod Security, counts as an error. Test
        pods are left out, because they are refused without their ServiceAccount.

        Raises:
            CommandError: The server refuses an object or warns about it.
        """
        chart = str(CHARTS / release.chart)
        manifests = self._run(
            "template", release.name, chart, "-n", release.namespace, "--skip-tests", "-f", "-",
            stdin=json.dumps(release.values), seconds=60,
        )  # fmt: skip
        judged = self.kube.run(
            "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-n", release.namespace,
            "-o", "name", "-f", "-",
            stdin=manifests,
        )  # fmt: skip
        return judged.split()

    def install(self, release: Release, *, seconds: float = 240, wait: bool = True) -> None:
        """Install or upgrade a release, validated by the server, and wait until its workloads are ready.

        Raises:
            CommandError: It was refused or was not ready in time. The message describes the state of its pods.
        """
        waiting = ["--wait=watcher"] if wait else []
        try:
            self._upgrade(release, *waiting, f"--timeout={seconds:g}s", seconds=seconds + 30)
        except CommandError as error:
            raise CommandError(f"{error}\n{self.kube.explain(release.namespace)}") from error

    def test(self, release: Release, *, seconds: float = 180) -> None:
        """Run `helm test`.

        Raises:
            CommandError: A test failed. The message contains the output of the test pods.
        """
        try:
            self._run("test", release.name, "-n", release.namespace, f"--timeout={seconds:g}s", seconds=seconds + 30)
        except CommandError as error:
            raise CommandError(f"{error}\n{self.kube.explain(release.namespace)}") from error

    def uninstall(self, release: Release) -> None:
        """Remove a release, and wait until its objects are gone."""
        self._run("uninstall", release.name, "-n", release.namespace, "--wait=watcher", seconds=200)

    def _upgrade(self, release: Release, *options: str, seconds: float = 60) -> str:
        return self._run(
            "upgrade", release.name, str(CHARTS / release.chart), "--install", "--server-side=true",
            "-n", release.namespace, "-f", "-", *options,
            stdin=json.dumps(release.values), seconds=seconds,
        )  # fmt: skip

    def _run(self, *arguments: str, stdin: str | None = None, seconds: float) -> str:
        command = ["helm", *arguments, f"--kubeconfig={self.kube.kubeconfig}"]
        return run_program(command, stdin=stdin, seconds=seconds)
