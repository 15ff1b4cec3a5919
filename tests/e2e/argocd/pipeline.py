"""The platform under test: its fork, Argo CD in the cluster, and what the tests do with both."""

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gitops.forge.rules import read_rules
from gitops.platform.reader import load_platform
from tests.e2e.argocd.chat import Chat
from tests.e2e.argocd.fork import ROOT, Fork
from tests.e2e.argocd.gitea import Gitea, Pull
from tests.e2e.argocd.places import Place
from tests.e2e.images import Images
from tests.e2e.kube import CommandError, Kube, Manifest, ready
from tests.e2e.pods import Runner, Script

NAMESPACE = "pipeline-e2e"
"""The namespace of the forge and the callers."""
MARK = {"pipeline-e2e": "true"}
"""Label of a namespace: this cluster's Argo CD belongs to the tests, which may remove it."""
APPLICATIONS = "applications.argoproj.io"
_REFRESH = "argocd.argoproj.io/refresh=normal"
_REFRESH_SET = "argocd.argoproj.io/application-set-refresh=true"


class Answer(msgspec.Struct, frozen=True):
    """The answer of a serving API: the number and digest of the version that it serves, and a prediction."""

    version: str
    digest: str
    prediction: object


class LoadResult(msgspec.Struct, frozen=True):
    """The results of a constant load."""

    seconds: float
    sent: int
    dropped: int
    errors: list[str]
    versions: dict[str, int]
    predictions: dict[str, int]
    slow: int
    """Answers that took more than a second."""
    p99_ms: float | None
    longest_gap_ms: float

    def __str__(self) -> str:
        """Return one sentence."""
        by = ", ".join(f"{count} by version {version}" for version, count in self.versions.items())
        return f"{self.sent} sent in {self.seconds:.0f} s, {self.dropped} failed; answered {by}; p99 {self.p99_ms} ms"


class Pipeline(msgspec.Struct, frozen=True):
    """Everything that a test needs."""

    kube: Kube
    images: Images
    fork: Fork
    forge: Gitea
    registry: str
    """Prefix of images and charts inside the cluster."""
    plain_http: bool
    chart: str
    """Version of the serving chart that this run publishes."""
    without: tuple[str, ...]
    """Applications that this cluster cannot have."""

    @property
    def runner(self) -> Runner:
        """Return a runner of scripts in pods of the serving image."""
        return Runner(self.kube, self.images.serving.reference)

    @property
    def chat(self) -> Chat:
        """Return the chat with messages about deployments and failures."""
        return Chat(self.kube, NAMESPACE)

    # --- Argo CD ---

    def application(self, name: str) -> Manifest:
        """Return an application as Argo CD sees it, or an empty dictionary."""
        found = self.kube.run("get", APPLICATIONS, name, "-n", "argocd", "-o", "json", "--ignore-not-found")
        parsed: Manifest = json.loads(found) if found.strip() else {}
        return parsed

    def applications(self) -> list[Manifest]:
        """Return all applications."""
        return self.kube.items("argocd", APPLICATIONS)

    def set_error(self, name: str) -> str:
        """Return the error that keeps an ApplicationSet from making its application, or an empty string."""
        found = self.kube.get("argocd", "applicationsets.argoproj.io", name).get("status", {}).get("conditions", [])
        return next((c["message"] for c in found if c["type"] == "ErrorOccurred" and c["status"] == "True"), "")

    def look_at_git(self) -> None:
        """Make Argo CD read git now, as a webhook would. By default it does so every minute."""
        for kind, annotation in (("applicationsets.argoproj.io", _REFRESH_SET), (APPLICATIONS, _REFRESH)):
            try:
                self.kube.run("annotate", kind, "--all", "-n", "argocd", "--overwrite", annotation)
            except CommandError as error:
                # An application that was deleted in the meantime does not exist any more. The others are annotated.
                if "(NotFound)" not in str(error):
                    raise

    def wait_settled(self, name: str, commit: str = "", *, seconds: float = 240) -> None:
        """Wait until an application is Synced and Healthy at a commit, including its hooks."""
        self.wait_application(name, lambda app: settled(app) and (not commit or commit in revisions(app)), seconds)

    def wait_application(self, name: str, condition: Callable[[Manifest], object], seconds: float) -> Manifest:
        """Wait until a condition holds for an application, and return the application.

        Raises:
            TimeoutError: It does not hold. The message describes the application's state.
        """

        def look() -> Manifest | None:
            app = self.application(name)
            return app if app and condition(app) else None

        try:
            return self.kube.wait(f"{name}", look, seconds=seconds, namespace="argocd", names=("none",))
        except TimeoutError as error:
            app = self.application(name)
            space = app.get("spec", {}).get("destination", {}).get("namespace", "argocd")
            raise TimeoutError(f"{error}\n{described(app)}\n{self.kube.explain(space)}") from error

    def follow(self, commit: str, *places: Place, seconds: float = 240) -> None:
        """Wait until Argo CD has brought a pushed commit to some places. Their applications may not exist yet."""
        self.look_at_git()
        for place in places:
            self.wait_application(place.application, lambda _: True, 90)
            self.wait_settled(place.application, commit, seconds=seconds)

    # --- people ---

    def promote(self, *places: Place) -> str:
        """Promote to some places and merge the pull requests, as people do. Return the newest commit."""
        for place in places:
            self.fork.gitops("promote", str(place))
            commit = self.merge(place)
        return commit

    def proposal(self, place: Place) -> Pull:
        """Return the newest pull request that promotes to a place."""
        return self.forge.pull(f"promote/{place}")

    def merge(self, place: Place) -> str:
        """Approve and merge the promotion to a place, pull the result, and return the newest commit."""
        return self.merge_pull(self.proposal(place))

    def merge_pull(self, pull: Pull) -> str:
        """Approve and merge a pull request, pull the result, and return the newest commit."""
        self.forge.approve(pull)
        self.forge.merge(pull)
        return self.update()

    def check(self, pull: Pull) -> None:
        """Judge a proposal with the workflow's command, and report the result. No runner builds and tests here."""
        proposal = self.fork.folder.parent / f"proposal-{pull.number}"
        self.fork.git("fetch", "--quiet", "origin")
        base = self.fork.git("rev-parse", "origin/main")
        self.fork.git("worktree", "add", "--quiet", "--detach", str(proposal), pull.head)
        judge = [str(ROOT / "tools" / "judge"), str(proposal), base]
        # Images that these tests push are not signed.
        self.fork.program(judge, seconds=120, environment={"JUDGE_WITHOUT": "signature"})
        self.report_checks(pull)

    def report_checks(self, pull: Pull) -> None:
        """Report every check that the branch requires as passed, as a forge's runners do."""
        for name in read_rules(self.fork.folder, load_platform(self.fork.folder)).checks:
            self.forge.report(pull, name, passed=True)

    def update(self) -> str:
        """Pull what was pushed or merged, and return the newest commit."""
        self.fork.git("pull", "--quiet", "--ff-only", "origin", "main")
        return self.fork.git("rev-parse", "HEAD")

    # --- releases ---

    def pins(self, place: Place) -> dict[str, Any]:
        """Return the pins in git of a place."""
        pins: dict[str, Any] = self.fork.read(place.release)
        return pins

    def serving_pods(self, place: Place) -> list[Manifest]:
        """Return the pods of a service's API."""
        labels = {
            "app.kubernetes.io/name": "model-serving",
            "app.kubernetes.io/component": "server",
            "app.kubernetes.io/instance": place.name,
        }
        return self.kube.items(place.namespace, "pods", labels)

    def images_of(self, place: Place) -> set[str]:
        """Return the digests of the images that a service's pods run."""
        found = (pod["status"]["containerStatuses"][0]["imageID"] for pod in self.serving_pods(place))
        return {image.partition("@")[2] for image in found}

    def ready_names(self, place: Place) -> set[str]:
        """Return the names of the pods that are ready."""
        return {pod["metadata"]["name"] for pod in self.serving_pods(place) if ready(pod)}

    def compared(self, place: Place, version: str) -> int:
        """Return the number of rows over which a shadow was compared, from the metrics of all pods."""
        total = 0
        for pod in self.serving_pods(place):
            ports = [port for each in pod["spec"]["containers"] for port in each.get("ports", [])]
            port = next(port["containerPort"] for port in ports if port["name"] == "metrics")
            path = f"/api/v1/namespaces/{place.namespace}/pods/{pod['metadata']['name']}:{port}/proxy/metrics"
            with contextlib.suppress(CommandError):  # a pod that was just started or ended
                for line in self.kube.run("get", "--raw", path).splitlines():
                    counted = line.startswith("serving_shadow_rows_total") and f'shadow="{version}"' in line
                    if counted and re.search(r'outcome="(agreed|differed)"', line):
                        total += int(float(line.rpartition(" ")[2]))
        return total

    def predict(self, place: Place) -> Answer:
        """Request a prediction from a service, through its Service, and the version that it serves."""
        question = {"url": place.address, "features": place.row}
        answer = self.runner.ask(Script(f"predict-{secrets.token_hex(3)}", NAMESPACE, "predict.py", question))
        info, prediction = answer["info"], answer["prediction"]
        return Answer(info["version"], info["digest"], prediction["prediction"])

    @contextlib.contextmanager
    def load(
        self, place: Place, *, rate: float = 20, workers: int = 4, seconds: float = 600
    ) -> Iterator[list[LoadResult]]:
        """Send predictions until the block ends. The yielded list contains the results after the block."""
        question = {
            "url": f"{place.address}/predict", "rate": rate, "workers": workers, "rows": 1,
            "features": place.row, "seconds": seconds,
        }  # fmt: skip
        script = Script(f"load-{secrets.token_hex(3)}", NAMESPACE, "load.py", question)
        self.runner.start(script)
        self.runner.wait_running(script)
        results: list[LoadResult] = []
        try:
            yield results
        finally:
            self.runner.stop(script)
            results.append(msgspec.convert(self.runner.answer(script), LoadResult))


def revisions(app: Mapping[str, Any]) -> list[str]:
    """Return the commits and chart versions with which an application was last compared."""
    sync = app.get("status", {}).get("sync", {})
    return sync.get("revisions") or [sync.get("revision", "")]


def settled(app: Mapping[str, Any]) -> bool:
    """Return whether an application runs what git says, including hooks, and no operation is in progress."""
    status = app.get("status", {})
    refreshing = "argocd.argoproj.io/refresh" in app["metadata"].get("annotations", {})
    return not refreshing and "operation" not in app and (
        status.get("sync", {}).get("status"),
        status.get("health", {}).get("status"),
        status.get("operationState", {}).get("phase", "Succeeded"),
    ) == ("Synced", "Healthy", "Succeeded")  # fmt: skip


def described(app: Mapping[str, Any]) -> str:
    """Describe the state of an application, with its conditions and the messages of objects that are not healthy."""
    status = app.get("status", {})
    operation = status.get("operationState", {})
    lines = [
        f"sync {status.get('sync', {}).get('status')}, health {status.get('health', {})}",
        f"operation {operation.get('phase')}: {operation.get('message')}",
        f"compared with {revisions(app)}",
    ]
    lines += [f"{entry['type']}: {entry['message']}" for entry in status.get("conditions", [])]
    lines += [
        f"{entry['kind']}/{entry['name']}: {entry.get('status')} {entry.get('health', '')}"
        for entry in status.get("resources", [])
        if entry.get("status") != "Synced" or entry.get("health", {}).get("status", "Healthy") != "Healthy"
    ]
    return "\n".join(lines)


def save(path: Path, text: str) -> None:
    """Write a text to a file for people to read later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
