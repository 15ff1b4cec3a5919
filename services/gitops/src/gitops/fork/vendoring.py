"""Argo CD's install manifest inside the repository, for clusters that reach no internet."""

import re
from pathlib import Path

import yaml

from gitops.errors import BadInputError

INSTALL = Path("argocd/install")
VENDORED = INSTALL / "vendored.yaml"
_KUSTOMIZATION = INSTALL / "kustomization.yaml"
_REMOTE = re.compile(r"https?://\S+/argo-cd/(?P<version>v[0-9][^/\s]*)/manifests/\S*install\.yaml")
_IMAGE = re.compile(r"image:\s*\S*argoproj/argocd:(?P<version>v[0-9]\S*)")
_NEEDED = ("name: applications.argoproj.io", "name: argocd-application-controller")


def vendored(root: Path, manifest: Path) -> dict[Path, str]:
    """What to write so that Argo CD installs from a manifest in the repository, by path relative to the root.

    Raises:
        BadInputError: The file is not the install manifest of the version that the repository pins.
    """
    kustomization = _read(root / _KUSTOMIZATION)
    content = _read(manifest)
    if missing := [words for words in _NEEDED if words not in content]:
        raise BadInputError(
            f"{manifest} is not Argo CD's install manifest: nothing in it says {missing[0]!r}. "
            "Take manifests/install.yaml of the release."
        )
    remote = _REMOTE.search(kustomization)
    image = _IMAGE.search(content)
    if remote and image and image["version"] != remote["version"]:
        raise BadInputError(
            f"{manifest} installs Argo CD {image['version']}, and {_KUSTOMIZATION} pins {remote['version']}: "
            f"take the manifest of {remote['version']}."
        )
    if remote:
        kustomization = kustomization.replace(remote[0], VENDORED.name)
    elif VENDORED.name not in (yaml.safe_load(kustomization).get("resources") or []):
        raise BadInputError(f"{_KUSTOMIZATION} names no install.yaml of an Argo CD release under `resources`.")
    return {_KUSTOMIZATION: kustomization, VENDORED: content}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadInputError(f"{path} cannot be read: {reason}.") from None
