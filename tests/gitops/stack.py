"""Everything that git says should run: applications with their rendered objects, projects, and bootstrap's Secrets.

The gitops command reads and renders the files, so the tests judge what Argo CD gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops.cluster.argocd import installation as installed_from
from gitops.cluster.argocd import root_manifest
from gitops.cluster.secrets import bootstrap_secrets
from gitops.platform.model import HERE, Platform
from gitops.platform.reader import load_platform
from gitops.rendering.applications import Application, applications, chart_documents
from gitops.rendering.render import Renderer, find_helm
from tests.gitops import capacity, installation
from tests.support import helm
from tests.support.manifests import Manifest, metadata, parse

CLUSTER_WIDE = frozenset(
    {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass"}
)
# Argo CD leaves out what Helm runs only as a test.
HOOK = "argocd.argoproj.io/hook"
# Where `helm pull` may put a chart that tests do not download.
PULLED_CHARTS = helm.ROOT / ".cache" / "charts"


@dataclass(frozen=True)
class App:
    """An Application and its rendered objects, or None if a chart to render them is not available.

    `own` is true if its charts are this repository's, which must follow the charts' policy.
    """

    manifest: Manifest
    objects: tuple[Manifest, ...] | None
    own: bool

    @property
    def name(self) -> str:
        """Return its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Return the namespace of objects that name no other."""
        return str(self.manifest["spec"]["destination"]["namespace"])

    @property
    def server(self) -> str:
        """Return the cluster of its objects."""
        return str(self.manifest["spec"]["destination"]["server"])

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Return its one source, or all of them."""
        spec = self.manifest["spec"]
        return spec.get("sources") or [spec["source"]]

    @property
    def rendered(self) -> tuple[Manifest, ...]:
        """Return its objects, or none if they are not known."""
        return self.objects or ()


@dataclass(frozen=True)
class Stack:
    """All applications, projects and Secrets.

    `secrets` are the keys that bootstrap makes, by server, namespace and name. `released` is true if any environment
    has a release. `reserved` are the requests of other pods. `unread` are sentences about files that could not be read.
    """

    platform: Platform
    apps: tuple[App, ...]
    projects: Mapping[str, Manifest]
    secrets: Mapping[tuple[str, str, str], frozenset[str]]
    released: bool
    reserved: Sequence[capacity.Requests]
    unread: Sequence[str]

    def app(self, name: str) -> App:
        """Return the application with that name. Raise KeyError if there is none."""
        return {app.name: app for app in self.apps}[name]


def placed(app: App, manifest: Manifest) -> str | None:
    """Return the namespace of an application's object, or None for a cluster-wide one."""
    if manifest["kind"] in CLUSTER_WIDE:
        return None
    return str(manifest["metadata"].get("namespace") or app.namespace)


def load(tree: Path) -> Stack:
    """Read and render the repository at `tree`, with the charts of the working tree instead of the pinned versions."""
    platform, program = load_platform(tree), find_helm(helm.ROOT)
    found = applications(tree, program)
    renderer = Renderer(tree, program, "tree")
    root = root_manifest(tree, platform, ())
    apps = [App(root, tuple(chart_documents(tree, program)), own=False)]
    apps += [_app(application, renderer, tree, platform) for application in found.applications]
    return Stack(
        platform=platform,
        apps=tuple(apps),
        projects={project["metadata"]["name"]: dict(project) for project in found.projects},
        secrets=_secrets(platform),
        released=any((tree / "envs").glob("*/*/release.yaml")),
        reserved=capacity.reserved(tree),
        unread=[f"{entry.origin}: {entry.why}" for entry in found.unread],
    )


def _secrets(platform: Platform) -> dict[tuple[str, str, str], frozenset[str]]:
    servers = {"": HERE} | {name: cluster.server for name, cluster in platform.clusters.items()}
    return {
        (server, secret.namespace, secret.name): frozenset(secret.keys)
        for name, server in servers.items()
        for secret in bootstrap_secrets(platform, name)
    }


def _app(application: Application, renderer: Renderer, tree: Path, platform: Platform) -> App:
    manifest = dict(application.manifest)
    # An ApplicationSet makes them in its own namespace.
    manifest["metadata"] = {"namespace": "argocd", **manifest["metadata"]}
    own = any(_is_own(source.chart, source.path, tree) for source in application.sources)
    app = App(manifest, None, own=own)
    return App(manifest, _objects(app, application, renderer, tree, platform), own=own)


def _is_own(chart: str, path: str, tree: Path) -> bool:
    folder = tree / "charts" / chart if chart else tree / path
    return bool(chart or path) and (folder / "Chart.yaml").exists()


def _objects(
    app: App, application: Application, renderer: Renderer, tree: Path, platform: Platform
) -> tuple[Manifest, ...] | None:
    if application.name == "argocd":
        built = installation.built(tree / installed_from(platform))
        return None if built is None else tuple(built)
    if not app.own and any(source.chart for source in application.sources):
        return _pulled(app, application, tree)
    rendered = renderer.render(application).manifests
    return tuple(manifest for manifest in rendered if metadata(manifest, "annotations").get(HOOK) != "Skip")


def _pulled(app: App, application: Application, tree: Path) -> tuple[Manifest, ...] | None:
    (source,) = (source for source in application.sources if source.chart)
    chart = PULLED_CHARTS / f"{source.chart}-{source.target_revision}.tgz"
    if not chart.exists():
        return None
    files = [tree / name.removeprefix("$values/") for name in (source.helm.value_files if source.helm else [])]
    values = [argument for file in files if file.exists() for argument in ("--values", file)]
    outcome = helm.run("helm", "template", app.name, chart, "--namespace", app.namespace, "--include-crds", *values)
    if outcome.code:
        raise ValueError(f"{app.name} does not render: {outcome.errors}")
    return tuple(parse(outcome.output))
