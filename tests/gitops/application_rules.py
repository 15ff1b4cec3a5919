"""Rules for Applications and projects: allowed sources and destinations, and how Argo CD syncs.

Each takes the whole stack and yields one sentence for each violation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from tests.gitops import definitions, installation
from tests.gitops.stack import CLUSTER_WIDE, App, Stack, placed
from tests.support.manifests import Manifest, metadata, name_of

Rule = Callable[[Stack], Iterator[str]]

CASCADE = "resources-finalizer.argocd.argoproj.io"
PATHS = "argocd.argoproj.io/manifest-generate-paths"
# Groups that exist before any application: those of Kubernetes and of Argo CD.
BUILT_IN = frozenset(
    {
        "",
        "apiextensions.k8s.io",
        "apps",
        "argoproj.io",
        "autoscaling",
        "batch",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
    }
)


def group_of(manifest: Manifest) -> str:
    """Return the API group. It is empty for the core group."""
    return str(manifest["apiVersion"]).rpartition("/")[0]


def in_a_project(stack: Stack) -> Iterator[str]:
    """An application belongs to a project that exists, and not to the default project."""
    for app in stack.apps:
        project = app.manifest["spec"]["project"]
        if project == "default" or project not in stack.projects:
            there = ", ".join(sorted(set(stack.projects) - {"default"}))
            yield f"{app.name}: its project is {project}; there are: {there}"


def closed_projects(stack: Stack) -> Iterator[str]:
    """Projects list what they allow, never everything, and the default project allows nothing."""
    for name, project in stack.projects.items():
        spec = project["spec"]
        if name == "default":
            if spec.get("sourceRepos") or spec.get("destinations"):
                yield "default: it must allow no source and no destination"
            continue
        if spec.get("namespaceResourceWhitelist") is None:
            yield f"{name}: namespaceResourceWhitelist must name the kinds; without it every kind is allowed"
        for key, text in _allowed(spec):
            if text == "*":
                yield f"{name}: {key} must not be *"


def _allowed(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("sourceRepos", repository) for repository in spec.get("sourceRepos") or [])
    for destination in spec.get("destinations") or []:
        yield from ((f"destinations.{key}", text) for key, text in destination.items())
    for key in ("clusterResourceWhitelist", "namespaceResourceWhitelist"):
        for entry in spec.get(key) or []:
            yield from ((f"{key}.{part}", entry[part]) for part in ("group", "kind"))
            yield f"{key}.name", entry.get("name", "")


def _with_project(stack: Stack) -> Iterator[tuple[App, dict[str, Any]]]:
    for app in stack.apps:
        project = stack.projects.get(app.manifest["spec"]["project"])
        if project:
            yield app, project["spec"]


def permitted_sources(stack: Stack) -> Iterator[str]:
    """The project allows the sources of an application."""
    for app, project in _with_project(stack):
        for source in app.sources:
            if not any(fnmatchcase(source["repoURL"], allowed) for allowed in project["sourceRepos"]):
                yield f"{app.name}: its project does not allow the source {source['repoURL']}"


def permitted_namespaces(stack: Stack) -> Iterator[str]:
    """The project allows every namespace that an application writes to."""
    for app, project in _with_project(stack):
        allowed = [entry["namespace"] for entry in project["destinations"] if entry["server"] == app.server]
        found = {app.namespace, *(space for manifest in app.rendered if (space := placed(app, manifest)))}
        for namespace in sorted(found):
            if not any(fnmatchcase(namespace, pattern) for pattern in allowed):
                yield f"{app.name}: its project does not allow the namespace {namespace}"


def permitted_kinds(stack: Stack) -> Iterator[str]:
    """The project allows every kind that an application renders, and cluster-wide objects by name if it names them."""
    for app, project in _with_project(stack):
        for manifest in app.rendered:
            cluster_wide = manifest["kind"] in CLUSTER_WIDE
            entries = project.get("clusterResourceWhitelist" if cluster_wide else "namespaceResourceWhitelist") or []
            if not any(_matches(entry, manifest) for entry in entries):
                yield f"{app.name}: its project does not allow {name_of(manifest)}"


def _matches(entry: dict[str, str], manifest: Manifest) -> bool:
    return (
        entry["group"] == group_of(manifest)
        and entry["kind"] == manifest["kind"]
        and fnmatchcase(manifest["metadata"]["name"], entry.get("name") or "*")
    )


def kept_up(stack: Stack) -> Iterator[str]:
    """Applications sync, prune and self-heal automatically, but never to an empty state."""
    for app in stack.apps:
        automated = (app.manifest["spec"].get("syncPolicy") or {}).get("automated") or {}
        for key in ("prune", "selfHeal"):
            if automated.get(key) is not True:
                yield f"{app.name}: syncPolicy.automated.{key} must be true"
        # The folder for people's own files is empty until they add some.
        if automated.get("allowEmpty") and app.name != "extra":
            yield f"{app.name}: syncPolicy.automated.allowEmpty must not be true"
        if automated.get("enabled") is False:
            yield f"{app.name}: automated syncs are turned off in git"


def retried(stack: Stack) -> Iterator[str]:
    """A failed sync is retried without end, at most minutes apart, with the newest revision."""
    for app in stack.apps:
        retry = (app.manifest["spec"].get("syncPolicy") or {}).get("retry") or {}
        if retry.get("limit") != -1:
            yield f"{app.name}: retry.limit must be -1: after the last retry, a revision is never synced again"
        if retry.get("refresh") is not True:
            yield f"{app.name}: retry.refresh must be true: otherwise the commit that fixes a sync waits for it"
        if not re.fullmatch(r"\d+s|[1-5]m", str((retry.get("backoff") or {}).get("maxDuration"))):
            yield f"{app.name}: retry.backoff.maxDuration must be some seconds, or at most 5m"


def applied_safely(stack: Stack) -> Iterator[str]:
    """Objects are applied on the server, belong to one application, and do not wait for kinds that do not exist yet."""
    for app in stack.apps:
        options = (app.manifest["spec"].get("syncPolicy") or {}).get("syncOptions") or []
        wanted = ["ServerSideApply=true", "FailOnSharedResource=true"]
        own = {each["spec"]["group"] for each in app.rendered if each["kind"] == "CustomResourceDefinition"}
        if {group_of(manifest) for manifest in app.rendered} - BUILT_IN - own:
            wanted.append("SkipDryRunOnMissingResource=true")
        for option in wanted:
            if option not in options:
                yield f"{app.name}: syncOptions must contain {option}"


def regenerated(stack: Stack) -> Iterator[str]:
    """An application from git is generated again when one of its files changes, and only then."""
    for app in stack.apps:
        paths = [path.strip() for path in metadata(app.manifest, "annotations").get(PATHS, "").split(";")]
        for file in _files(app):
            if not any(path.strip("/") and f"{file}/".startswith(f"{path.rstrip('/')}/") for path in paths):
                yield f"{app.name}: {PATHS} must contain {file}"


def _files(app: App) -> Iterator[str]:
    for source in app.sources:
        if "path" in source:
            yield f"/{source['path']}"
        helm = source.get("helm") or {}
        for name in (*(helm.get("valueFiles") or []), *(entry["path"] for entry in helm.get("fileParameters") or [])):
            yield name.removeprefix("$values")


def exact_revisions(stack: Stack) -> Iterator[str]:
    """Charts of a registry are pinned to one version. Git is followed at the branch that decides what runs."""
    for app in stack.apps:
        for source in app.sources:
            revision = str(source["targetRevision"])
            if "chart" in source and not re.fullmatch(r"\d+\.\d+\.\d+([-+][\w.-]+)?", revision):
                yield f"{app.name}: the chart {source['chart']} must be pinned to one version, not {revision}"
            if "chart" not in source and revision != stack.platform.branch:
                yield f"{app.name}: git must be followed at {stack.platform.branch}, not {revision}"


def outliving(stack: Stack) -> Iterator[str]:
    """Removing an application deletes neither data nor definitions."""
    for app in stack.apps:
        if CASCADE not in (app.manifest["metadata"].get("finalizers") or []):
            continue
        kinds = {manifest["kind"] for manifest in app.rendered if _holds_data(manifest)}
        if kinds or app.objects is None:
            lost = ", ".join(sorted(kinds)) or "objects that are not known here"
            yield f"{app.name}: with the finalizer {CASCADE}, removing it would delete {lost}"


def _holds_data(manifest: Manifest) -> bool:
    if manifest["kind"] == "StatefulSet":
        return bool(manifest["spec"].get("volumeClaimTemplates"))
    return manifest["kind"] in {"Application", "AppProject", "CustomResourceDefinition", "PersistentVolumeClaim"}


def well_formed(stack: Stack) -> Iterator[str]:
    """Applications, ApplicationSets and projects are valid by Argo CD's own definitions, if these are available."""
    roots = (app.manifest for app in stack.apps if app.name == "root")
    children = (manifest for app in stack.apps for manifest in app.rendered if group_of(manifest) == "argoproj.io")
    for manifest in (*roots, *children, *stack.projects.values()):
        if manifest["kind"] in installation.definitions():
            yield from definitions.problems(manifest)


RULES: tuple[Rule, ...] = (
    well_formed,
    in_a_project,
    closed_projects,
    permitted_sources,
    permitted_namespaces,
    permitted_kinds,
    kept_up,
    retried,
    applied_safely,
    regenerated,
    exact_revisions,
    outliving,
)
