"""Argo CD's install manifest inside the repository, for clusters without internet."""

import re
from pathlib import Path

from gitops.errors import BadInputError

INSTALL = Path("argocd/install/kustomization.yaml")
# Upstream has no files in this folder, so its next version merges without conflicts.
VENDORED = Path("argocd/vendored")
MANIFEST = VENDORED / "install.yaml"
KUSTOMIZATION = """\
# Argo CD from the manifest next to this file. Written by `gitops adopt --vendor-argocd`.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: argocd
resources:
  - install.yaml
components:
  - ../patches
"""
_REMOTE = re.compile(r"https?://\S+/argo-cd/(?P<version>v[0-9][^/\s]*)/manifests/\S*install\.yaml")
_IMAGE = re.compile(r"image:\s*\S*argoproj/argocd:(?P<version>v[0-9][^\s@\"']*)")
_NEEDED = ("name: applications.argoproj.io", "name: argocd-application-controller")


def vendored(root: Path, manifest: Path) -> dict[Path, str]:
    """Return the files for an installation of Argo CD from the repository, by path relative to the root.

    Raises:
        BadInputError: The file is not the install manifest of the version that the repository pins.
    """
    content = _read(manifest)
    if missing := [words for words in _NEEDED if words not in content]:
        raise BadInputError(
            f"{manifest} is not Argo CD's install manifest: it does not contain {missing[0]!r}. "
            "Take manifests/install.yaml of the release."
        )
    pinned, given = pinned_version(root), _IMAGE.search(content)
    if pinned and given and given["version"] != pinned:
        raise BadInputError(
            f"{manifest} installs Argo CD {given['version']}, but {INSTALL} pins {pinned}: use the manifest of "
            f"{pinned}."
        )
    return {VENDORED / "kustomization.yaml": KUSTOMIZATION, MANIFEST: content}


def pinned_version(root: Path) -> str | None:
    """Return the version of Argo CD that the repository pins; None if it names no release.

    Raises:
        BadInputError: The kustomization cannot be read.
    """
    remote = _REMOTE.search(_read(root / INSTALL))
    return remote["version"] if remote else None


def vendored_version(root: Path) -> str | None:
    """Return the version of the manifest in the repository; None if it names none.

    Raises:
        BadInputError: There is no such manifest.
    """
    return version_in(_read(root / MANIFEST))


def version_in(manifest: str) -> str | None:
    """Return the version of Argo CD that a manifest installs; None if it names none."""
    image = _IMAGE.search(manifest)
    return image["version"] if image else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInputError(f"{path} cannot be read: {reason}.") from None
