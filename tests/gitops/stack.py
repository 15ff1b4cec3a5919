"""Everything that git says runs: applications with what they render to, projects, and the Secrets of bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gitops.cluster.secrets import BOOTSTRAP_SECRETS
from tests.gitops import capacity, expansion, installation
from tests.support import helm
from tests.support.manifests import Manifest, metadata, parse

CLUSTER_WIDE = frozenset(
    {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass"}
)
# What Helm runs as a test, Argo CD leaves out.
HOOK = "argocd.argoproj.io/hook"
# Where `helm pull` may put a chart that tests do not fetch.
PULLED_CHARTS = helm.ROOT / ".cache" / "charts"


@dataclass(frozen=True)
class App:
    """An Application, and what it renders to: None where that needs what is not at hand.

    `own` says that its charts are this repository's, and so held to its policy.
    """

    manifest: Manifest
    objects: tuple[Manifest, ...] | None
    own: bool

    @property
    def name(self) -> str:
        """Its name, which is the Helm release's too."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where its objects go unless they say otherwise."""
        return str(self.manifest["spec"]["destination"]["namespace"])

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Where it comes from: its one source, or all of them."""
        spec = self.manifest["spec"]
        return spec.get("sources") or [spec["source"]]

    @property
    def rendered(self) -> tuple[Manifest, ...]:
        """Its objects, none where they are not known."""
        return self.objects or ()


@dataclass(frozen=True)
class Stack:
    """All of it.

    `secrets` are the keys that bootstrap makes, by namespace and name; `registry` is the prefix of the images that are
    built here; `released` says whether any environment has been; `reserved` is what others' pods ask for.
    """

    apps: tuple[App, ...]
    projects: Mapping[str, Manifest]
    secrets: Mapping[tuple[str, str], frozenset[str]]
    registry: str
    released: bool
    reserved: Sequence[capacity.Requests]

    def app(self, name: str) -> App:
        """Return the application of that name; KeyError where there is none."""
        return {app.name: app for app in self.apps}[name]


def placed(app: App, manifest: Manifest) -> str | None:
    """Return the namespace in which an object of an application ends up; None for a cluster-wide one."""
    if manifest["kind"] in CLUSTER_WIDE:
        return None
    return str(manifest["metadata"].get("namespace") or app.namespace)


def load(tree: Path) -> Stack:
    """Read and render the repository at `tree`; the charts are the working tree's, whichever version is pinned."""
    identity = yaml.safe_load((tree / "argocd" / "identity.yaml").read_text(encoding="utf-8"))
    files = [manifest for path in sorted((tree / "apps").glob("*.yaml")) for manifest in _read(path)]
    applications = [
        *_read(tree / "argocd" / "root.yaml"),
        *(one for each in files for one in _applications(each, tree)),
    ]
    projects = [manifest for path in sorted((tree / "argocd" / "projects").glob("*.yaml")) for manifest in _read(path)]
    return Stack(
        apps=tuple(_app(manifest, tree) for manifest in applications),
        projects={manifest["metadata"]["name"]: manifest for manifest in projects},
        secrets=_bootstrap_secrets(),
        registry=identity["registry"],
        released=any((tree / "envs").glob("*/release.yaml")),
        reserved=capacity.reserved(tree),
    )


def _bootstrap_secrets() -> dict[tuple[str, str], frozenset[str]]:
    return {(secret.namespace, secret.name): frozenset(secret.keys) for secret in BOOTSTRAP_SECRETS}


def _read(path: Path) -> list[Manifest]:
    return parse(path.read_text(encoding="utf-8"))


def _applications(manifest: Manifest, tree: Path) -> Iterator[Manifest]:
    if manifest["kind"] == "ApplicationSet":
        yield from expansion.expand(manifest, tree)
    else:
        yield manifest


def _app(manifest: Manifest, tree: Path) -> App:
    app = App(manifest, None, own=False)
    app = replace(app, own=any(_own_chart(source, tree) for source in app.sources))
    objects: list[Manifest] = []
    for source in app.sources:
        found = [] if "ref" in source else _objects(app, source, tree)
        if found is None:
            return app
        objects += found
    return replace(app, objects=tuple(objects))


def _own_chart(source: dict[str, Any], tree: Path) -> Path | None:
    folder = tree / "charts" / source["chart"] if "chart" in source else tree / source.get("path", ".")
    return folder if (folder / "Chart.yaml").exists() else None


def _objects(app: App, source: dict[str, Any], tree: Path) -> list[Manifest] | None:
    if chart := _own_chart(source, tree):
        return _templated(app, chart, source, tree)
    if "chart" in source:
        pulled = PULLED_CHARTS / f"{source['chart']}-{source['targetRevision']}.tgz"
        return _templated(app, pulled, source, tree) if pulled.exists() else None
    folder = tree / source["path"]
    if (folder / "kustomization.yaml").exists():
        return installation.built(folder)
    return [manifest for path in sorted(folder.glob("*.yaml")) for manifest in _read(path)]


def _templated(app: App, chart: Path, source: dict[str, Any], tree: Path) -> list[Manifest]:
    values = [
        argument for name in source["helm"]["valueFiles"] for argument in ("--values", _values(name, source, tree))
    ]
    where = ("--namespace", app.namespace, "--include-crds")
    outcome = helm.run("helm", "template", app.name, chart, *where, *values)
    if outcome.code:
        raise ValueError(f"{app.name} does not render: {outcome.errors}")
    return [manifest for manifest in parse(outcome.output) if metadata(manifest, "annotations").get(HOOK) != "Skip"]


def _values(name: str, source: dict[str, Any], tree: Path) -> Path:
    if name.startswith("$values/"):
        return tree / name.removeprefix("$values/")
    return tree / name.lstrip("/") if name.startswith("/") else tree / source["path"] / name
