"""Change a fork and its cluster back to the layout before services had names, from which `gitops migrate` starts."""

import functools
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.argocd.pipeline import APPLICATIONS, Pipeline
from tests.e2e.argocd.places import Place

PREVIOUS = Path(__file__).parent / "previous"
_SETS = "applicationsets.argoproj.io"
_PROJECTS = "appprojects.argoproj.io"
_SERVED = (
    "deployments,services,serviceaccounts,configmaps,jobs,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,"
    "ingresses,servicemonitors"
)
_VENDORED = "vendored.yaml"
_URL = "https://raw.githubusercontent.com/argoproj/argo-cd/v3.6.1/manifests/install.yaml"


def write_old_layout(pipeline: Pipeline, places: list[Place]) -> None:
    """Rewrite the fork in the layout of version 0.1: the pins of the places become those of their environments.

    Args:
        pipeline: The pipeline of the fork.
        places: One service in each environment.
    """
    folder, fork = pipeline.fork.folder, pipeline.fork
    pins = {place.environment: (folder / place.release).read_text() for place in places}
    tuned, platform = fork.read("envs/values.yaml"), fork.read("platform.yaml")
    _pin_in_values(pipeline)
    # Today's charts let in only callers that are named to them. Those of version 0.1 knew two environments by name.
    for name in ("minio", "mlflow"):
        more = {"networkPolicy": {"servingNamespaces": [place.namespace for place in places]}}
        fork.edit(f"envs/platform/{name}.yaml", functools.partial(_merge, more=more))
    vendored = folder / "argocd" / "vendored" / "install.yaml"
    manifest = vendored.read_text() if vendored.exists() else ""
    for gone in ("apps", "argocd", "envs/values.yaml", "envs/platform/pins", "platform.yaml"):
        _take_away(folder / gone)
    for environment in pins:
        _take_away(folder / "envs" / environment)
    shutil.copytree(PREVIOUS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))
    for file in [*(folder / "apps").rglob("*.yaml"), *(folder / "argocd").rglob("*.yaml")]:
        file.write_text(_adopted(file.read_text(), platform))
    if manifest:
        (folder / "argocd" / "install" / _VENDORED).write_text(manifest)
        fork.replace("argocd/install/kustomization.yaml", _URL.replace(".", r"\."), _VENDORED)
    fork.replace("argocd/identity.yaml", "^plainHttp: .*$", f"plainHttp: {str(pipeline.plain_http).lower()}")
    fork.replace("argocd/identity.yaml", "^adopted: .*$", "adopted: true")
    for name in pipeline.without:
        _take_away(folder / "apps" / f"{name}.yaml")
    for environment, text in pins.items():
        (folder / "envs" / environment / "release.yaml").write_text(text)
        fork.edit(f"envs/{environment}/values.yaml", lambda values: _merge(values, tuned))


def _pin_in_values(pipeline: Pipeline) -> None:
    """Move the pins of the platform's images next to its tuning."""
    for name in ("mlflow", "training"):
        pinned = pipeline.fork.read(f"envs/platform/pins/{name}.yaml")
        pipeline.fork.edit(f"envs/platform/{name}.yaml", functools.partial(_merge, more=pinned))
    # Today's training chart takes the training.yaml as a text, which the application of version 0.1 does not set.
    said = (pipeline.fork.folder / "models/iris/training.yaml").read_text()
    trained = {"name": "iris", "training": said}
    pipeline.fork.edit("envs/platform/training.yaml", functools.partial(_merge, more=trained))


def run_old_layout(pipeline: Pipeline, places: list[Place]) -> None:
    """Make Argo CD forget what it runs, remove the services, and start again with the fork's content."""
    kube = pipeline.kube
    # Objects that outlive the root application must not be deleted together with their owners.
    kube.run("delete", APPLICATIONS, "root", "-n", "argocd", "--timeout=60s")
    kube.run("delete", _SETS, "--all", "-n", "argocd", "--timeout=120s", seconds=130)
    kube.wait(
        "the applications of the sets are gone",
        lambda: not [app for app in pipeline.applications() if app["metadata"].get("ownerReferences")],
        seconds=120,
        namespace="argocd",
        names=("none",),
    )
    for app in pipeline.applications():
        name = app["metadata"]["name"]
        kube.run("patch", APPLICATIONS, name, "-n", "argocd", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        kube.run("delete", APPLICATIONS, name, "-n", "argocd", "--ignore-not-found", "--timeout=60s")
    kube.run("delete", _PROJECTS, "--all", "-n", "argocd", "--timeout=60s")
    for namespace in {place.namespace for place in places}:
        kube.run(
            "delete",
            _SERVED,
            "-n",
            namespace,
            "-l",
            "app.kubernetes.io/name=model-serving",
            "--timeout=120s",
            seconds=130,
        )
    for path in ("argocd/projects", "argocd/root.yaml"):
        kube.run("apply", "--server-side", "--force-conflicts", "-f", str(pipeline.fork.folder / path))


def _adopted(text: str, platform: dict[str, Any]) -> str:
    repository = platform["repository"]
    text = text.replace("https://github.com/OWNER/NAME.git", repository)
    text = text.replace("ghcr.io/OWNER/NAME", platform["registry"]["prefix"])
    return text.replace("OWNER/NAME", urlsplit(repository).path.strip("/").removesuffix(".git"))


def _merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _take_away(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
