"""What the kustomizations under argocd/ make of the release's manifest, built with kustomize itself.

Needs that manifest, vendored or named by ARGOCD_INSTALL_MANIFEST, and kustomize or kubectl.
"""

import re
from pathlib import Path

import pytest

from gitops.cluster.argocd import namespaces
from tests.gitops import capacity, installation
from tests.gitops.stack import Stack
from tests.support import pod_rules
from tests.support.helm import ROOT
from tests.support.manifests import Manifest, containers, metadata, name_of, parse, pod_template

PATCHES = ROOT / "argocd" / "patches"


@pytest.fixture(scope="module")
def built(tree: Path) -> list[Manifest]:
    manifests = installation.built(tree / "argocd" / "install")
    if manifests is None:
        pytest.skip(installation.MISSING)
    return manifests


def named(manifests: list[Manifest], name: str) -> Manifest:
    return next(manifest for manifest in manifests if name_of(manifest) == name)


def images(manifests: list[Manifest]) -> set[str]:
    pods = [pod for manifest in manifests if (pod := pod_template(manifest))]
    return {container["image"] for pod in pods for _, container in containers(pod)}


def test_is_the_pinned_version(built: list[Manifest]) -> None:
    versions = {image.rpartition(":")[2] for image in images(built) if "/argocd:" in image}
    pinned = installation.pinned_version()
    assert len(versions) == 1
    assert pinned is None or versions == {pinned}


def test_every_patch_is_named_and_exists() -> None:
    text = (PATCHES / "kustomization.yaml").read_text(encoding="utf-8")
    named_files = set(re.findall(r"path: (\S+)", text))
    there = {path.name for path in PATCHES.glob("*.yaml")} - {"kustomization.yaml"}
    assert named_files == there


def test_has_no_dex(built: list[Manifest]) -> None:
    assert [name_of(manifest) for manifest in built if "dex" in manifest["metadata"]["name"]] == []
    assert [image for image in images(built) if "dex" in image] == []


def test_every_process_is_bounded(built: list[Manifest]) -> None:
    assert [problem for manifest in built for problem in pod_rules.bounded_resources(manifest)] == []


def test_pods_fit_the_level_that_their_namespace_enforces(built: list[Manifest], everything: Stack) -> None:
    assert namespaces(everything.platform)["argocd"] == "restricted"
    assert [problem for manifest in built for problem in pod_rules.restricted(manifest)] == []


def test_requests_are_those_that_are_counted(built: list[Manifest]) -> None:
    counted = capacity.asked(parse((PATCHES / "resources.yaml").read_text(encoding="utf-8")))
    asked = capacity.asked(built)
    # One Deployment is recreated without a surge, which the patches alone do not say.
    assert asked.cpu <= counted.cpu <= asked.cpu * 1.1
    assert asked.memory <= counted.memory <= asked.memory * 1.1


def test_definitions_outlive_the_application(built: list[Manifest]) -> None:
    definitions = [manifest for manifest in built if manifest["kind"] == "CustomResourceDefinition"]
    assert len(definitions) == 3
    for definition in definitions:
        options = metadata(definition, "annotations")["argocd.argoproj.io/sync-options"]
        assert options == "Prune=false,Delete=false"


def test_admin_is_the_only_local_user(built: list[Manifest]) -> None:
    data = named(built, "ConfigMap/argocd-cm")["data"]
    assert [key for key in data if key.startswith("accounts.")] == []
    assert data["admin.enabled"] == "true"
    assert data["users.anonymous.enabled"] == "false"


def test_settings_are_text(built: list[Manifest]) -> None:
    """The API server refuses a number or boolean in a ConfigMap."""
    for manifest in built:
        if manifest["kind"] == "ConfigMap":
            assert {type(value) for value in (manifest.get("data") or {}).values()} <= {str}, name_of(manifest)


def test_every_setting_that_is_read_at_start_exists(built: list[Manifest]) -> None:
    """Each key of argocd-cmd-params-cm reaches a process as an environment variable."""
    known = {
        variable["valueFrom"]["configMapKeyRef"]["key"]
        for manifest in built
        if (pod := pod_template(manifest))
        for _, container in containers(pod)
        for variable in container.get("env") or []
        if (variable.get("valueFrom") or {}).get("configMapKeyRef", {}).get("name") == "argocd-cmd-params-cm"
    }
    assert set(named(built, "ConfigMap/argocd-cmd-params-cm")["data"]) <= known


def test_one_application_contains_all_of_it(built: list[Manifest], everything: Stack) -> None:
    assert {name_of(manifest) for manifest in built} == {name_of(each) for each in everything.app("argocd").rendered}
