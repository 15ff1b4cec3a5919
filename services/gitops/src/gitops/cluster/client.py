"""Access to the cluster through kubectl. All requests to a cluster go through this class."""

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
# Seconds between tries if the API server does not answer, as on a small node that restarts it.
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
# Lines of kubectl's own log, which repeat each of its tries before the error itself.
_OWN_LOG = re.compile(r"^[EWIF]\d{4} \d\d:.*$", re.MULTILINE)
_UNKNOWN_KIND = re.compile(r"doesn't have a resource type|could not find the requested resource", re.IGNORECASE)


class Cluster:
    """One cluster, selected by a context of the user's kubeconfig."""

    def __init__(self, context: str | None = None, *, patient: bool = True, prometheus: str = "") -> None:
        """Take the context; the default is the current one.

        Args:
            context: A context of the kubeconfig.
            patient: Whether to try again if the cluster does not answer.
            prometheus: The address of its Prometheus, to use instead of a port-forward.
        """
        self.prometheus = prometheus
        self._context = context
        self._pauses = _PAUSES if patient else ()

    def other(self, context: str) -> "Cluster":
        """Return another cluster, by a context of the same kubeconfig."""
        return Cluster(context, patient=bool(self._pauses))

    @property
    def command(self) -> str:
        """Return the kubectl command for this cluster, as a person types it."""
        return f"kubectl --context {self._context}" if self._context else "kubectl"

    def context(self) -> str:
        """Return the name of the context.

        Raises:
            BadInputError: kubectl has no configuration.
        """
        return self._context or self._kubectl("config", "current-context").strip()

    def server_version(self) -> str:
        """Return the version of the API server, such as `v1.34.2`.

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
        """Return the objects of a kind; none if the cluster does not know the kind.

        Args:
            kind: Plural, with its group if it has one, such as `pods` or `applications.argoproj.io`.
            namespace: Where to look; the default is all namespaces.
            selector: A label selector.
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
        """Return one object, or None if it does not exist."""
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
        """Apply objects server-side, and take over fields of other managers."""
        options = ["--server-side", "--force-conflicts", "--field-manager", _MANAGER]
        self._kubectl("apply", *options, "--filename", "-", stdin=manifests.stream(objects), timeout=_APPLY_SECONDS)

    def create(self, manifest: Manifest) -> bool:
        """Create an object unless it exists; return whether it was created."""
        try:
            self._kubectl("create", "--filename", "-", "--field-manager", _MANAGER, stdin=manifests.stream([manifest]))
        except ProgramFailedError as error:
            if "AlreadyExists" in error.errors:
                return False
            raise
        return True

    def annotate_all(self, kind: str, namespace: str, annotation: str) -> None:
        """Set an annotation (`key=value`) on every object of a kind in a namespace."""
        try:
            self._kubectl("annotate", kind, "--all", "--namespace", namespace, "--overwrite", annotation)
        except ProgramFailedError as error:
            # An object may be deleted after kubectl listed it. kubectl then reports it and continues with the others.
            if not error.errors.strip() or not all("(NotFound)" in line for line in error.errors.strip().splitlines()):
                raise

    def merge(self, kind: str, name: str, namespace: str, patch: Manifest) -> None:
        """Change fields of an object with a JSON merge patch."""
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
        """Delete objects by labels or names, and wait until they are gone; `orphan` keeps their dependents."""
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
        """Return the kinds that the cluster knows, such as `cronjobs.batch`."""
        return frozenset(self._kubectl("api-resources", "--output", "name").split())

    def logs(self, namespace: str, pod: str, container: str, *, previous: bool = False, lines: int = 10) -> list[str]:
        """Return the last lines that a container wrote; none if there are no logs."""
        before = ["--previous"] if previous else []
        try:
            command = ["logs", pod, "--namespace", namespace, "--container", container, f"--tail={lines}", *before]
            return self._kubectl(*command).splitlines()
        except GitopsError:
            return []

    def answer(self, namespace: str, service: str, port: str, path: str) -> str:
        """Return what a Service answers over HTTP at a named port, through the proxy of the API server."""
        return self._kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy{path}")

    @contextlib.contextmanager
    def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
        """Forward a local port to a Service inside the block, and yield the local address.

        Raises:
            OutageError: The Service does not exist, or none of its pods run.
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
        """Return the objects that a kustomization makes; needs no cluster.

        Raises:
            ProgramFailedError: Kustomize refuses it, or cannot download a resource.
        """
        return manifests.parse(run(["kubectl", "kustomize", str(folder)], timeout=_APPLY_SECONDS))

    def _base(self) -> list[str]:
        return ["kubectl", *(["--context", self._context] if self._context else [])]

    def _kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = _REQUEST_SECONDS * 1.5) -> str:
        # A long timeout means a command that waits for something, so no limit applies to its single requests.
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
    """Return the local port, from the output of kubectl."""
    deadline = time.monotonic() + _FORWARD_SECONDS
    while True:
        ended = process.poll() is not None
        said.seek(0)
        text = said.read()
        if match := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", text):
            return int(match[1])
        if ended or time.monotonic() > deadline:
            reason = " ".join(_OWN_LOG.sub("", text).split()) or "no answer"
            raise OutageError(f"{what} cannot be reached through kubectl port-forward: {reason}")
        time.sleep(_FORWARD_PAUSE)
