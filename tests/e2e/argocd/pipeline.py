"""The platform under test: its fork, Argo CD in the cluster, and what the tests ask of both."""

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.argocd.chat import Chat
from tests.e2e.argocd.fork import Fork
from tests.e2e.images import Images
from tests.e2e.kube import Kube, Manifest, ready
from tests.e2e.pods import Runner, Script

NAMESPACE = "pipeline-e2e"
"""Where the git server and the callers live."""
MARK = {"pipeline-e2e": "true"}
"""Label of a namespace that says: this cluster's Argo CD is the tests' own, and may go."""
ENVIRONMENTS = ("staging", "production")
ROW = [5.1, 3.5, 1.4, 0.2]
APPLICATIONS = "applications.argoproj.io"
_REFRESH = "argocd.argoproj.io/refresh=normal"
_REFRESH_SET = "argocd.argoproj.io/application-set-refresh=true"


class Answer(msgspec.Struct, frozen=True):
    """What a serving API said: the version that predicted, and what it says that it serves."""

    version: str
    digest: str
    prediction: object


class LoadResult(msgspec.Struct, frozen=True):
    """What became of a constant load."""

    seconds: float
    sent: int
    dropped: int
    errors: list[str]
    versions: dict[str, int]
    p99_ms: float | None
    longest_gap_ms: float

    def __str__(self) -> str:
        """One sentence."""
        by = ", ".join(f"{count} by version {version}" for version, count in self.versions.items())
        return f"{self.sent} sent in {self.seconds:.0f} s, {self.dropped} failed; answered {by}; p99 {self.p99_ms} ms"


class Pipeline(msgspec.Struct, frozen=True):
    """Everything that a test needs."""

    kube: Kube
    images: Images
    fork: Fork
    registry: str
    """Prefix of images and charts, as the cluster knows it."""
    plain_http: bool
    chart: str
    """Version of the serving chart that this run publishes."""
    without: tuple[str, ...]
    """Applications that this cluster cannot have."""

    @property
    def runner(self) -> Runner:
        """Runs scripts in pods of the serving image."""
        return Runner(self.kube, self.images.serving.reference)

    @property
    def chat(self) -> Chat:
        """Where people are told of deployments and failures."""
        return Chat(self.kube, NAMESPACE)

    # --- Argo CD ---

    def application(self, name: str) -> Manifest:
        """One application, as Argo CD sees it; empty where there is none."""
        found = self.kube.run("get", APPLICATIONS, name, "-n", "argocd", "-o", "json", "--ignore-not-found")
        parsed: Manifest = json.loads(found) if found.strip() else {}
        return parsed

    def applications(self) -> list[Manifest]:
        """All applications."""
        return self.kube.items("argocd", APPLICATIONS)

    def look_at_git(self) -> None:
        """Have Argo CD look at git now, as a webhook would; left alone it looks every minute."""
        self.kube.run("annotate", "applicationsets.argoproj.io", "--all", "-n", "argocd", "--overwrite", _REFRESH_SET)
        self.kube.run("annotate", APPLICATIONS, "--all", "-n", "argocd", "--overwrite", _REFRESH)

    def wait_settled(self, name: str, commit: str = "", *, seconds: float = 240) -> None:
        """Wait until an application is Synced and Healthy at a commit, its hooks included."""
        self.wait_application(name, lambda app: settled(app) and (not commit or commit in revisions(app)), seconds)

    def wait_application(self, name: str, condition: Callable[[Manifest], object], seconds: float) -> Manifest:
        """Wait until an application is as it should be, and return it.

        Raises:
            TimeoutError: It is not; the message says how it stands.
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

    def follow(self, commit: str, *environments: str, seconds: float = 240) -> None:
        """Wait until Argo CD has brought a pushed commit to the environments."""
        self.look_at_git()
        for environment in environments:
            self.wait_settled(f"serving-{environment}", commit, seconds=seconds)

    # --- what is released ---

    def pins(self, environment: str) -> dict[str, Any]:
        """What git says runs there."""
        pins: dict[str, Any] = self.fork.read(f"envs/{environment}/release.yaml")
        return pins

    def serving_pods(self, environment: str) -> list[Manifest]:
        """The pods of an environment's API."""
        labels = {"app.kubernetes.io/name": "model-serving", "app.kubernetes.io/component": "server"}
        return self.kube.items(f"ml-pipeline-{environment}", "pods", labels)

    def images_of(self, environment: str) -> set[str]:
        """The digests of the images that an environment's pods run."""
        found = (pod["status"]["containerStatuses"][0]["imageID"] for pod in self.serving_pods(environment))
        return {image.partition("@")[2] for image in found}

    def ready_names(self, environment: str) -> set[str]:
        """The names of the pods that are ready."""
        return {pod["metadata"]["name"] for pod in self.serving_pods(environment) if ready(pod)}

    def predict(self, environment: str) -> Answer:
        """Ask an environment for a prediction, through its Service, and for what it serves."""
        question = {"url": address(environment), "features": ROW}
        answer = self.runner.ask(Script(f"predict-{secrets.token_hex(3)}", NAMESPACE, "predict.py", question))
        info, prediction = answer["info"], answer["prediction"]
        return Answer(prediction["model_version"], info["digest"], prediction["prediction"])

    @contextlib.contextmanager
    def load(self, environment: str, *, rate: float = 20, seconds: float = 600) -> Iterator[list[LoadResult]]:
        """Send predictions all along the block; the list holds what became of them once it has ended."""
        question = {
            "url": f"{address(environment)}/predict", "rate": rate, "workers": 4, "rows": 1,
            "features": ROW, "seconds": seconds,
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


def address(environment: str) -> str:
    """Where an environment's API is, for pods."""
    return f"http://serving-{environment}.ml-pipeline-{environment}"


def revisions(app: Mapping[str, Any]) -> list[str]:
    """The commits and chart versions that an application was last compared with."""
    sync = app.get("status", {}).get("sync", {})
    return sync.get("revisions") or [sync.get("revision", "")]


def settled(app: Mapping[str, Any]) -> bool:
    """Whether an application runs what git says, hooks included, and nothing is under way."""
    status = app.get("status", {})
    refreshing = "argocd.argoproj.io/refresh" in app["metadata"].get("annotations", {})
    return not refreshing and "operation" not in app and (
        status.get("sync", {}).get("status"),
        status.get("health", {}).get("status"),
        status.get("operationState", {}).get("phase", "Succeeded"),
    ) == ("Synced", "Healthy", "Succeeded")  # fmt: skip


def described(app: Mapping[str, Any]) -> str:
    """How an application stands, with its conditions and the messages of what is not well."""
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
    """Write a text that a person may want to read later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
