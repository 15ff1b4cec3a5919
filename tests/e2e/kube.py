"""A thin, typed wrapper of kubectl. A wait that times out explains the state of the cluster."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Manifest = dict[str, Any]


class CommandError(RuntimeError):
    """A program ended with an exit code other than 0. The message contains its output."""


def run_program(
    command: list[str],
    *,
    stdin: str | None = None,
    seconds: float = 60,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run `command` and return its standard output. `environment` is added to that of this process.

    Raises:
        CommandError: The command failed or took longer than `seconds`.
    """
    variables = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, cwd=cwd, env=variables
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)}: no end after {seconds:g} s") from error
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}{done.stdout}".strip())
    return done.stdout


class Kube(msgspec.Struct, frozen=True):
    """A cluster, given by its kubeconfig."""

    kubeconfig: str

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        """Run kubectl and return its output."""
        return run_program(["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments], stdin=stdin, seconds=seconds)

    def get(self, namespace: str, *what: str) -> Manifest:
        """Return `kubectl get WHAT` as parsed JSON: one object, or a List with `items`."""
        parsed: Manifest = json.loads(self.run("get", "-n", namespace, *what, "-o", "json"))
        return parsed

    def items(self, namespace: str, kind: str, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        """Return the objects of one kind in a namespace, optionally only those with these labels."""
        selector = ["-l", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
        items: list[Manifest] = self.get(namespace, kind, *selector)["items"]
        return items

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Create or change objects, validated and merged by the server."""
        body = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=body)

    def delete(self, namespace: str, *what: str, seconds: float = 120) -> None:
        """Delete objects if they exist, and wait until they are gone."""
        timeout = f"--timeout={seconds:g}s"
        self.run("delete", "-n", namespace, *what, "--ignore-not-found", timeout, seconds=seconds + 10)

    def logs(self, namespace: str, pod: str, *, lines: int = 200) -> str:
        """Return the last lines of the logs of the pod's containers, or the reason why there are none."""
        try:
            return self.run("logs", "-n", namespace, pod, "--all-containers", f"--tail={lines}")
        except CommandError as error:
            return str(error)

    def events(self, namespace: str) -> list[str]:
        """Return the events of a namespace, oldest first, as one sentence each."""
        events = sorted(self.items(namespace, "events"), key=_event_time)
        return [f"{event['involvedObject']['kind']}/{event['involvedObject']['name']}: {event['reason']}: "
                f"{event.get('message', '')}" for event in events]  # fmt: skip

    def explain(self, namespace: str, *names: str) -> str:
        """Describe the state of a namespace, with the logs of the pods whose name starts with one of `names`.

        Without names, include the logs of all pods that are not healthy.
        """
        lines = [f"--- namespace {namespace}", self.run("get", "-n", namespace, "pods,jobs,pvc", "-o", "wide")]
        lines += ["last events:", *self.events(namespace)[-15:]]
        for pod in self.items(namespace, "pods"):
            name = pod["metadata"]["name"]
            wanted = name.startswith(names) if names else not _is_well(pod)
            if wanted:
                lines += [f"last lines of {name}:", self.logs(namespace, name, lines=15)]
        return "\n".join(lines)

    def wait(
        self,
        what: str,
        condition: Callable[[], T | None],
        *,
        seconds: float,
        namespace: str,
        names: tuple[str, ...] = (),
    ) -> T:
        """Poll until `condition` returns a true value, and return that value.

        Raises:
            TimeoutError: Not within `seconds`. The message describes the state of the pods `names` in the namespace.
        """
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s\n{self.explain(namespace, *names)}")
            time.sleep(1)
        return result

    @contextlib.contextmanager
    def forwarded(self, namespace: str, target: str, port: int, *, scheme: str = "http") -> Iterator[str]:
        """Yield a local address for a port of a pod or Service (`KIND/NAME`), until the block ends."""
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", "port-forward", "-n", namespace, target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                said = process.stdout.readline() if process.stdout else ""
                found = re.search(r"127\.0\.0\.1:(\d+)", said)
                if not found:
                    raise CommandError(f"{' '.join(command)}: {said}")
                yield f"{scheme}://127.0.0.1:{found[1]}"
            finally:
                process.terminate()

    def wait_rolled_out(self, namespace: str, workload: str, *, seconds: float = 120) -> None:
        """Wait until all pods of a Deployment or StatefulSet (`KIND/NAME`) are up to date.

        Raises:
            TimeoutError: They are not after `seconds`, or the progress deadline passed.
        """
        try:
            self.run("rollout", "status", "-n", namespace, workload, f"--timeout={seconds:g}s", seconds=seconds + 10)
        except CommandError as error:
            explanation = self.explain(namespace, workload.partition("/")[2])
            raise TimeoutError(f"{workload} did not roll out: {error}\n{explanation}") from error

    def run_cronjob(self, namespace: str, cronjob: str, name: str, *, seconds: float) -> None:
        """Start a Job from a CronJob by hand, and wait until it completes.

        Raises:
            AssertionError: The Job failed. The message contains its log.
        """

        def ended() -> str | None:
            conditions = self.get(namespace, "job", name)["status"].get("conditions", [])
            return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"}), None)

        self.run("create", "job", "-n", namespace, name, f"--from=cronjob/{cronjob}")
        end = self.wait(f"Job {name} ends", ended, seconds=seconds, namespace=namespace, names=(name,))
        if end == "Failed":
            raise AssertionError(f"Job {name} failed\n{self.explain(namespace, name)}")


def together(*calls: Callable[[], T]) -> list[T]:
    """Run calls at the same time and return their results in order. Raise the first error after all have ended."""
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def ready(pod: Manifest) -> bool:
    """Return whether a pod is ready and not being deleted."""
    conditions = pod.get("status", {}).get("conditions", [])
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def _is_well(pod: Manifest) -> bool:
    return ready(pod) or pod["status"].get("phase") == "Succeeded"


def _event_time(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
