"""Argo CD as bootstrap installs it: namespaces, access to git and the registry, the root application."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from gitops.cluster.secrets import OWNED, secret_manifest
from gitops.documents import YAMLError, loaded_all
from gitops.errors import BadInputError, OutageError
from gitops.platform.model import ARGOCD, MONITORING, PIPELINE, ROLLOUTS, Platform
from gitops.programs import ProgramFailedError
from gitops.rendering.applications import APPS
from gitops.rendering.manifests import Manifest

ROOT = Path("argocd/root.yaml")
ROOT_NAME = "root"
INSTALL, VENDORED = Path("argocd/install"), Path("argocd/vendored")
GIT_SECRET = "repository-git"  # noqa: S105  its name, not its content
CHARTS_SECRET = "repository-charts"  # noqa: S105  its name, not its content
_REPOSITORY = {"argocd.argoproj.io/secret-type": "repository"}
_MANAGED_BY = "app.kubernetes.io/managed-by"
_CREDENTIALS = ("username", "password", "sshPrivateKey")
# Parts of the chart in apps/ that are not entries of `applications`.
_OTHER_PARTS = ("training", "extra")


class Login(Struct, frozen=True, kw_only=True):
    """A user and password; the password may be a token."""

    user: str
    password: str


class GitAccess(Struct, frozen=True, kw_only=True):
    """How Argo CD signs in to a private git repository: by password or by SSH key."""

    login: Login | None = None
    ssh_key: str | None = None


def namespaces(platform: Platform, cluster: str = "") -> dict[str, str]:
    """Return the namespaces of a cluster, each with the Pod Security level that it enforces.

    Args:
        platform: The content of platform.yaml.
        cluster: A name under `clusters`; empty means Argo CD's cluster, which also has the shared parts.
    """
    levels = {entry.where: "restricted" for entry in platform.environments if entry.cluster == cluster}
    if cluster:
        return levels
    # node-exporter reads the node itself, which every stricter level forbids.
    canaries = {ROLLOUTS: "restricted"} if platform.rollouts else {}
    return {ARGOCD: "restricted", PIPELINE: "restricted", **levels, **canaries, MONITORING: "privileged"}


def namespace_manifests(levels: Mapping[str, str], foreign: Collection[str] = ()) -> list[Manifest]:
    """Return the Namespace objects.

    Args:
        levels: The result of `namespaces`.
        foreign: Namespaces that bootstrap did not create. They get no label of ownership, so `teardown` leaves them.
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
        for name, level in levels.items()
    ]


def namespace_owned(namespace: Manifest) -> bool:
    """Whether bootstrap created a namespace."""
    return (namespace["metadata"].get("labels") or {}).get(_MANAGED_BY) == OWNED[_MANAGED_BY]


def foreign_namespaces(levels: Collection[str], present: Iterable[Manifest]) -> list[str]:
    """Return the namespaces of the platform that exist in a cluster and that bootstrap did not create."""
    return [
        entry["metadata"]["name"]
        for entry in present
        if entry["metadata"]["name"] in levels and not namespace_owned(entry)
    ]


def repository_secrets(
    platform: Platform, git: GitAccess, registry: Login | None, present: Mapping[str, Mapping[str, str]]
) -> list[Manifest]:
    """Return the Secrets with which Argo CD reads the git repository and the charts.

    Args:
        platform: The content of platform.yaml, with both addresses.
        git: Credentials of the git server, if given.
        registry: Credentials of the registry, if given.
        present: The current values of these Secrets, by name. Credentials given earlier are kept.
    """
    earlier = {
        name: {key: value for key, value in values.items() if key in _CREDENTIALS} for name, values in present.items()
    }
    git_values = {"type": "git", "url": platform.repository} | earlier.get(GIT_SECRET, {})
    if git.login or git.ssh_key:
        git_values = {key: value for key, value in git_values.items() if key not in _CREDENTIALS} | _access(git)
    chart_values = {"type": "helm", "name": "charts", "url": platform.registry.charts, "enableOCI": "true"}
    chart_values |= earlier.get(CHARTS_SECRET, {})
    if registry:
        chart_values |= {"username": registry.user, "password": registry.password}
    if platform.registry.plain_http:
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
    """Split objects into definitions of kinds and all others, which may be of those kinds."""
    definitions = [entry for entry in objects if entry.get("kind") == "CustomResourceDefinition"]
    return definitions, [entry for entry in objects if entry.get("kind") != "CustomResourceDefinition"]


def installation(platform: Platform) -> Path:
    """Return the folder of the kustomization that installs Argo CD."""
    return VENDORED if platform.argocd.vendored else INSTALL


def not_fetched(error: ProgramFailedError) -> OutageError:
    """Return the error for a kustomization of the installation that cannot be built."""
    return OutageError(
        f"Argo CD's installation cannot be built: {error.errors}\n"
        f"If this machine cannot reach the manifest that is named in {INSTALL}/kustomization.yaml, download it "
        "elsewhere. Then run gitops adopt --vendor-argocd FILE, commit, push, and run bootstrap again."
    )


def shared_parts(tree: Path) -> list[str]:
    """Return the names of the applications that the environments share.

    Raises:
        BadInputError: apps/values.yaml cannot be read.
    """
    values = _documents(tree / APPS / "values.yaml", APPS / "values.yaml")
    return sorted((values[0].get("applications") or {}) if values else [])


def left_out(tree: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the applications to leave out, each once and sorted.

    Raises:
        BadInputError: apps/ has no such application.
    """
    known = sorted({*shared_parts(tree), *_OTHER_PARTS})
    if unknown := [name for name in names if name not in known]:
        raise BadInputError(f"--without: {APPS} has no {unknown[0]!r}; it has: {', '.join(known)}.")
    return sorted(set(names))


def root_manifest(tree: Path, platform: Platform, without: Sequence[str]) -> Manifest:
    """Return the root application: it reads the fork's repository and branch, and leaves applications out.

    Raises:
        BadInputError: argocd/root.yaml is not a single Application with the path apps/.
    """
    found = [entry for entry in _documents(tree / ROOT, ROOT) if entry.get("kind") == "Application"]
    source = (found[0].get("spec") or {}).get("source") or {} if len(found) == 1 else {}
    if source.get("path") != str(APPS):
        raise BadInputError(f"{ROOT} must hold one Application whose source is the folder {APPS}.")
    source |= {"repoURL": platform.repository, "targetRevision": platform.branch}
    helm = source.setdefault("helm", {})
    values = helm.setdefault("valuesObject", {})
    values["without"] = sorted({*(values.get("without") or []), *without})
    return found[0]


def _documents(path: Path, name: Path) -> list[Manifest]:
    try:
        return [entry for entry in loaded_all(path.read_text(encoding="utf-8")) if isinstance(entry, dict)]
    except FileNotFoundError:
        raise BadInputError(f"{name} is missing: restore it with `git checkout HEAD -- {name}`.") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise BadInputError(f"{name} is not valid YAML: {error}.") from None
