"""Argo CD's installation as kustomize builds it, if the release's manifest is available.

The manifest is the vendored file, or the file that ARGOCD_INSTALL_MANIFEST names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import yaml

from tests.support.helm import ROOT
from tests.support.manifests import Manifest

VENDORED = "vendored/install.yaml"
MISSING = "Argo CD's install manifest is missing: set ARGOCD_INSTALL_MANIFEST, or vendor it with `gitops adopt`"
_REMOTE = re.compile(r"https://\S+/argo-cd/(?P<version>v[0-9.]+)/manifests/install\.yaml")


def manifest_path(argocd: Path = ROOT / "argocd") -> Path | None:
    """Return the path of the release's manifest, or None."""
    named = os.environ.get("ARGOCD_INSTALL_MANIFEST")
    candidates = [argocd / VENDORED, *([Path(named)] if named else [])]
    return next((path for path in candidates if path.is_file()), None)


def pinned_version(argocd: Path = ROOT / "argocd") -> str | None:
    """Return the version that the kustomization takes from upstream, or None if a vendored file replaces it."""
    if (argocd / VENDORED).is_file():
        return None
    match = _REMOTE.search((argocd / "install" / "kustomization.yaml").read_text(encoding="utf-8"))
    return match["version"] if match else None


@cache
def definitions() -> dict[str, Manifest]:
    """Return Argo CD's own CustomResourceDefinitions by kind, or nothing without the manifest."""
    path = manifest_path()
    manifests = _loaded(path.read_text(encoding="utf-8")) if path else []
    return {crd["spec"]["names"]["kind"]: crd for crd in manifests if crd["kind"] == "CustomResourceDefinition"}


def built(folder: Path) -> list[Manifest] | None:
    """Return what kustomize makes of an installation's folder, or None if the manifest or kustomize is missing."""
    argocd = folder.parent
    manifest, program = manifest_path(argocd), _kustomize()
    if manifest is None or program is None:
        return None
    files = {str(path.relative_to(argocd)): path.read_text(encoding="utf-8") for path in argocd.rglob("*.yaml")}
    kustomization = f"{folder.name}/kustomization.yaml"
    files[kustomization] = _REMOTE.sub("install.yaml", files[kustomization])
    files[f"{folder.name}/install.yaml"] = manifest.read_text(encoding="utf-8")
    return _built(program, folder.name, tuple(sorted(files.items())))


@cache
def _built(program: tuple[str, ...], name: str, files: tuple[tuple[str, str], ...]) -> list[Manifest]:
    """Build files of the same content only once, wherever they are, because it takes seconds."""
    with tempfile.TemporaryDirectory() as argocd:
        for file, content in files:
            path = Path(argocd) / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        command = [*program, str(Path(argocd) / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ValueError(f"kustomize cannot build Argo CD's installation: {done.stderr}")
    return _loaded(done.stdout)


def _kustomize() -> tuple[str, ...] | None:
    for program, verb in (("kustomize", "build"), ("kubectl", "kustomize")):
        if path := shutil.which(program):
            return path, verb
    return None


def _loaded(text: str) -> list[Manifest]:
    # It has two megabytes, for which PyYAML's own parser would take ten seconds.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
