"""The cluster, spoken to through kubectl. Everything that the command asks of a cluster goes through this class."""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from gitops.errors import BadInputError, GitopsError, OutageError
from gitops.programs import ProgramFailedError, ProgramMissingError, run
from gitops.rendering import manifests
from gitops.rendering.manifests import Manifest

_MANAGER = "gitops"
_REQUEST_SECONDS = 20
_APPLY_SECONDS = 180.0
_DELETE_SECONDS = 300.0
_FORWARD_SECONDS = 20.0
_FORWARD_PAUSE = 0.1
# Waited between tries when the API server does not answer, as while a small node restarts it.
_PAUSES = (1.0, 2.0, 4.0)
_AWAY = re.compile(
    r"connection refused|unable to connect to the server|no route to host|i/o timeout|tls handshake timeout|"
    r"connection reset|context deadline exceeded|client\.timeout|etcdserver: (request timed out|leader changed)|"
    r"the server is currently unable to handle the request|serviceunavailable|too many requests|"
    r"error from server \(timeout\)|client connection lost|server sent goaway|unexpected eof",
    re.IGNORECASE,
)
_NO_CONFIGURATION = re.compile(
    r"context \S+ does not exist|current-context is not set|no configuration has been provided|invalid configuration",
    re.IGNORECASE,
)
_UNKNOWN_KIND = re.compile(r"doesn't have a resource type|could not find the requested resource", re.IGNORECASE)


class Cluster:
    """One cluster, by a context of the user's kubeconfig."""

    def __init__(self, context: str | None = None, *, patient: bool = True, prometheus: str = "") -> None:
        """Take the context, the current one by default.

        Args:
            context: A context of the kubeconfig.
            patient: Whether to try again when nothing answers.
            prometheus: The address of its Prometheus, where a port-forward is not the way.
        """
        self.prometheus = prometheus
        self._context = context
        self._pauses = _PAUSES if patient else ()

    def other(self, context: str) -> "Cluster":
        """Another cluster, by a context of the same kubeconfig."""
        return Cluster(context, patient=bool(self._pauses))

    @property
    def command(self) -> str:
        """How a person calls kubectl for this cluster."""
        return f"kubectl --context {self._context}" if self._context else "kubectl"

    def context(self) -> str:
        """The name of the context that is spoken to.

        Raises:
            BadInputError: kubectl has no configuration.
        """
        return self._context or self._kubectl("config", "current-context").strip()

    def server_version(self) -> str:
        """The version of the API server, such as `v1.34.2`.

        Raises:
            OutageError: It does not answer.
        """
        answer = json.loads(self._kubectl("version", "--output", "json"))
        return str(answer["serverVersion"]["gitVersion"])

    def may_do_everything(self) -> bool:
        """Whether the user is an administrator of the cluster."""
        try:
            return self._kubectl("auth", "can-i", "*", "*", "--all-namespaces").strip() == "yes"
        except ProgramFailedError:
            return False

    def items(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        """The objects of a kind (plural, with its group where needed); none where the cluster does not know the kind.

        Args:
            kind: Such as `pods` or `applications.argoproj.io`.
            namespace: Where to look; everywhere by default.
            selector: Only objects with these labels.
        """
        where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
        which = ["--selector", selector] if selector else []
        try:
            found = self._kubectl("get", kind, *where, *which, "--output", "json", "--ignore-not-found")
        except ProgramFailedError as error:
            if _UNKNOWN_KIND.search(error.errors):
                return []
            raise
        found_items: list[Manifest] = msgspec.json.decode(found)["items"] if found.strip() else []
        return found_items

    def find(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """One object, or None where there is none."""
        where = ["--namespace", namespace] if namespace else []
        try:
            found = self._kubectl("get", kind, name, *where, "--output", "json", "--ignore-not-found")
        except ProgramFailedError as error:
            if _UNKNOWN_KIND.search(error.errors):
                return None
            raise
        item: Manifest | None = msgspec.json.decode(found) if found.strip() else None
        return item

    def apply(self, objects: Sequence[Manifest]) -> None:
        """Apply objects server-side, and take over fields that others own."""
        options = ["--server-side", "--force-conflicts", "--field-manager", _MANAGER]
        self._kubectl("apply", *options, "--filename", "-", stdin=manifests.stream(objects), timeout=_APPLY_SECONDS)

    def create(self, manifest: Manifest) -> bool:
        """Make an object unless it is there; says whether it was made."""
        try:
            self._kubectl("create", "--filename", "-", "--field-manager", _MANAGER, stdin=manifests.stream([manifest]))
        except ProgramFailedError as error:
            if "AlreadyExists" in error.errors:
                return False
            raise
        return True

    def annotate_all(self, kind: str, namespace: str, annotation: str) -> None:
        """Put an annotation (`key=value`) on every object of a kind in a namespace."""
        try:
            self._kubectl("annotate", kind, "--all", "--namespace", namespace, "--overwrite", annotation)
        except ProgramFailedError as error:
            # kubectl goes on with the others when one of those that it listed has been deleted meanwhile.
            if not error.errors.strip() or not all("(NotFound)" in line for line in error.errors.strip().splitlines()):
                raise

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        """Change fields of an object, by a JSON merge patch."""
        self._kubectl("patch", kind, name, "--namespace", namespace, "--type", "merge", "--patch", json.dumps(patch))

    def delete(
        self,
        kinds: Sequence[str],
        *,
        namespace: str | None = None,
        selector: str = "",
        names: Sequence[str] = (),
        orphan: bool = False,
    ) -> None:
        """Delete objects by their labels or names, and wait until they are gone; `orphan` leaves what they made."""
        where = ["--namespace", namespace] if namespace else []
        which = ["--selector", selector] if selector else list(names)
        command = [
            "delete",
            ",".join(kinds),
            *where,
            *which,
            *(["--cascade=orphan"] if orphan else []),
            "--ignore-not-found",
            "--wait",
            f"--timeout={_DELETE_SECONDS:.0f}s",
        ]
        self._kubectl(*command, timeout=_DELETE_SECONDS + _REQUEST_SECONDS)

    def kinds(self) -> frozenset[str]:
        """The kinds that the cluster knows, as `cronjobs.batch`."""
        return frozenset(self._kubectl("api-resources", "--output", "name").split())

    def logs(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 10) -> list[str]:
        """The last lines that a container wrote; none where there are no logs to be had."""
        before = ["--previous"] if previous else []
        try:
            command = ["logs", pod, "--namespace", namespace, "--container", container, f"--tail={lines}", *before]
            return self._kubectl(*command).splitlines()
        except GitopsError:
            return []

    def answer(self, namespace: str, service: str, port: str, path: str) -> str:
        """What a Service answers over HTTP at one of its named ports, asked through the API server."""
        return self._kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy{path}")

    @contextlib.contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """Reach a Service at a local address inside the block.

        Raises:
            OutageError: There is no such Service, or nothing behind it runs.
        """
        command = [*self._base(), "port-forward", "--namespace", namespace, f"service/{service}", f":{port}"]
        if shutil.which("kubectl") is None:
            raise ProgramMissingError("kubectl")
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT) as process,
        ):
            try:
                yield f"http://127.0.0.1:{_forwarded_port(process, said, f'{namespace}/{service}')}"
            finally:
                process.terminate()

    def kustomized(self, folder: Path) -> list[Manifest]:
        """What a kustomization makes; asks no cluster.

        Raises:
            ProgramFailedError: Kustomize refuses, or cannot fetch what it names.
        """
        return manifests.parse(run(["kubectl", "kustomize", str(folder)], timeout=_APPLY_SECONDS))

    def _base(self) -> list[str]:
        return ["kubectl", *(["--context", self._context] if self._context else [])]

    def _kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = _REQUEST_SECONDS * 1.5) -> str:
        # A long time-out belongs to a command that waits for something; then no single request may end it.
        limit = [f"--request-timeout={_REQUEST_SECONDS}s"] if timeout < _APPLY_SECONDS else []
        command = [*self._base(), *limit, *arguments]
        for pause in (*self._pauses, None):
            try:
                return run(command, stdin=stdin, timeout=timeout)
            except ProgramFailedError as error:
                if _NO_CONFIGURATION.search(error.errors):
                    raise BadInputError(
                        f"kubectl is not connected to a cluster: {error.errors} Set KUBECONFIG or --context."
                    ) from None
                if not _AWAY.search(error.errors):
                    raise
                if pause is None:
                    raise OutageError(
                        f"The cluster does not answer: {error.last_line} "
                        "Is it up, and does KUBECONFIG name the right one?"
                    ) from None
                time.sleep(pause)
        raise AssertionError("the last try either returns or raises")


def _forwarded_port(process: "subprocess.Popen[bytes]", said: IO[str], what: str) -> int:
    """The local port that kubectl says it listens on."""
    deadline = time.monotonic() + _FORWARD_SECONDS
    while True:
        ended = process.poll() is not None
        said.seek(0)
        text = said.read()
        if match := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", text):
            return int(match[1])
        if ended or time.monotonic() > deadline:
            reason = " ".join(text.split()) or "no answer"
            raise OutageError(f"{what} cannot be reached through kubectl port-forward: {reason}")
        time.sleep(_FORWARD_PAUSE)
