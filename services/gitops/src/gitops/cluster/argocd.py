"""Argo CD as bootstrap installs it: namespaces, access to git and the registry, the root application."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from gitops.cluster.secrets import OWNED, secret_manifest
from gitops.errors import BadInputError, OutageError
from gitops.fork.vendoring import INSTALL
from gitops.platform.environments import ARGOCD, MONITORING, PIPELINE, namespace_of
from gitops.platform.identity import Identity
from gitops.programs import ProgramFailedError
from gitops.rendering.applications import APPS, documents
from gitops.rendering.manifests import Manifest

PROJECTS = Path("argocd/projects")
ROOT = Path("argocd/root.yaml")
ROOT_NAME = "root"
# Pod Security: node-exporter looks at the node itself, which anything stricter forbids.
NAMESPACES: Mapping[str, str] = {
    ARGOCD: "restricted",
    PIPELINE: "restricted",
    namespace_of("staging"): "restricted",
    namespace_of("production"): "restricted",
    MONITORING: "privileged",
}
GIT_SECRET = "repository-git"  # noqa: S105  its name, not its content
CHARTS_SECRET = "repository-charts"  # noqa: S105  its name, not its content
_REPOSITORY = {"argocd.argoproj.io/secret-type": "repository"}
_MANAGED_BY = "app.kubernetes.io/managed-by"
_CREDENTIALS = ("username", "password", "sshPrivateKey")


class Login(Struct, frozen=True, kw_only=True):
    """A user and password, or a token in its place."""

    user: str
    password: str


class GitAccess(Struct, frozen=True, kw_only=True):
    """How Argo CD gets into a private git repository: by password or by SSH key."""

    login: Login | None = None
    ssh_key: str | None = None


def namespace_manifests(foreign: Collection[str] = ()) -> list[Manifest]:
    """The namespaces, each with the Pod Security level that it enforces.

    Args:
        foreign: Those that somebody else made, and that are not claimed: `teardown` leaves them.
    """
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": ({} if name in foreign else OWNED)
                | {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
                | {"pod-security.kubernetes.io/enforce-version": "latest"},
            },
        }
        for name, level in NAMESPACES.items()
    ]


def foreign_namespaces(present: Iterable[Manifest]) -> list[str]:
    """Those of `NAMESPACES` among the namespaces of a cluster that bootstrap did not make."""
    return [
        entry["metadata"]["name"]
        for entry in present
        if entry["metadata"]["name"] in NAMESPACES
        and (entry["metadata"].get("labels") or {}).get(_MANAGED_BY) != OWNED[_MANAGED_BY]
    ]


def repository_secrets(
    identity: Identity, git: GitAccess, registry: Login | None, present: Mapping[str, Mapping[str, str]]
) -> list[Manifest]:
    """What Argo CD knows the git repository and the charts by.

    Args:
        identity: Where they are.
        git: Credentials of the git server, where given.
        registry: Credentials of the registry, where given.
        present: The values of these Secrets as they are now, by name: credentials given earlier stay.
    """
    earlier = {
        name: {key: value for key, value in values.items() if key in _CREDENTIALS} for name, values in present.items()
    }
    git_values = {"type": "git", "url": identity.repository} | earlier.get(GIT_SECRET, {})
    if git.login or git.ssh_key:
        git_values = {key: value for key, value in git_values.items() if key not in _CREDENTIALS} | _access(git)
    chart_values = {"type": "helm", "name": "charts", "url": identity.charts, "enableOCI": "true"}
    chart_values |= earlier.get(CHARTS_SECRET, {})
    if registry:
        chart_values |= {"username": registry.user, "password": registry.password}
    if identity.plain_http:
        chart_values |= {"insecureOCIForceHttp": "true"}
    return [
        secret_manifest(ARGOCD, GIT_SECRET, git_values, labels=_REPOSITORY),
        secret_manifest(ARGOCD, CHARTS_SECRET, chart_values, labels=_REPOSITORY),
    ]


def _access(git: GitAccess) -> dict[str, str]:
    if git.ssh_key:
        return {"sshPrivateKey": git.ssh_key}
    return {"username": git.login.user, "password": git.login.password} if git.login else {}


def definitions_first(objects: Sequence[Manifest]) -> tuple[list[Manifest], list[Manifest]]:
    """Part objects into definitions of kinds and all others, which may be of those kinds."""
    definitions = [entry for entry in objects if entry.get("kind") == "CustomResourceDefinition"]
    return definitions, [entry for entry in objects if entry.get("kind") != "CustomResourceDefinition"]


def not_fetched(error: ProgramFailedError) -> OutageError:
    """What to say when the installation's kustomization cannot be built."""
    return OutageError(
        f"Argo CD's installation cannot be put together: {error.errors}\n"
        f"If this machine does not reach the manifest named in {INSTALL}/kustomization.yaml, fetch it elsewhere, then: "
        "gitops adopt --vendor-argocd FILE, commit, push, and run bootstrap again."
    )


def left_out_files(tree: Path, names: Sequence[str]) -> list[str]:
    """The files of apps/ that hold the named applications.

    Raises:
        BadInputError: There is no such application.
    """
    known = sorted(path.stem for path in (tree / APPS).glob("*.yaml"))
    if unknown := [name for name in names if name not in known]:
        raise BadInputError(f"--without: {APPS} has no {unknown[0]!r}; it has: {', '.join(known)}.")
    return [f"{name}.yaml" for name in sorted(set(names))]


def root_manifest(tree: Path, excluded: Sequence[str]) -> Manifest:
    """The root application, told to leave files of apps/ out.

    Raises:
        BadInputError: argocd/root.yaml holds no Application over apps/.
    """
    found = [document for document in documents(tree / ROOT, ROOT) if document.get("kind") == "Application"]
    if len(found) != 1 or (found[0]["spec"].get("source") or {}).get("path") != str(APPS):
        raise BadInputError(f"{ROOT} must hold one Application whose source is the folder {APPS}.")
    root = found[0]
    directory = root["spec"]["source"].setdefault("directory", {})
    already = [part for part in directory.get("exclude", "").strip("{}").split(",") if part]
    if patterns := [*already, *excluded]:
        directory["exclude"] = patterns[0] if len(patterns) == 1 else "{" + ",".join(patterns) + "}"
    return root
