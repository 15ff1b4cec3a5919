"""A broken file of one person stops nobody else, and people's own files are read in every format."""

import shutil
from pathlib import Path

import pytest
import yaml

from gitops.errors import BadInputError
from gitops.rendering.applications import Found, applications
from gitops.rendering.render import Renderer, find_helm, select
from tests.gitops import stack
from tests.support.helm import ROOT

APPLICATION = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "theirs", "namespace": "argocd"},
    "spec": {
        "project": "platform",
        "source": {"repoURL": "https://github.com/OWNER/NAME.git", "targetRevision": "main", "path": "charts/mlflow"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "ml-pipeline"},
    },
}


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> Path:
    """Return a copy of the repository that a test may break."""
    return Path(shutil.copytree(tree, tmp_path / "own"))


def found(tree: Path) -> Found:
    return applications(tree, find_helm(ROOT))


def names(tree: Path) -> set[str]:
    return {entry.name for entry in found(tree).applications}


def extra(tree: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (tree / "apps" / "extra" / f"{name}.yaml").write_text(text, encoding="utf-8")


def with_source(**source: object) -> dict[str, object]:
    spec = APPLICATION["spec"]
    assert isinstance(spec, dict)
    return {**APPLICATION, "spec": {**spec, "source": {**spec["source"], **source}}}


@pytest.mark.parametrize("text", ["a: [", "release: {}\n", "- a\n", "release: {chart: 1.0.0}\nimage: none\n"])
def test_a_broken_release_stops_only_its_own_service(text: str, own: Path) -> None:
    before = names(own)
    (own / "envs/staging/iris/release.yaml").write_text(text, encoding="utf-8")
    after = found(own)
    assert {entry.name for entry in after.applications} == before - {"iris-staging"}
    assert [entry.origin for entry in after.unread] == ["apps (iris-staging)"]
    with pytest.raises(BadInputError, match="iris"):
        select(own, find_helm(ROOT), "staging/iris")
    assert [app.name for app in select(own, find_helm(ROOT), "production/iris")] == ["iris-production"]


def test_each_service_has_its_own_applicationset(wide: stack.Stack) -> None:
    sets = [entry for entry in wide.app("root").rendered if entry["kind"] == "ApplicationSet"]
    services = [entry for entry in sets if entry["metadata"]["name"] != "training"]
    assert len(services) == 12
    for entry in services:
        (generator,) = entry["spec"]["generators"]
        (file,) = generator["git"]["files"]
        assert "*" not in file["path"]
        assert entry["spec"]["syncPolicy"]["preserveResourcesOnDeletion"] is True


def test_a_broken_training_stops_no_other_model(own: Path) -> None:
    before = names(own)
    (own / "models/iris/training.yaml").write_text("a: [", encoding="utf-8")
    assert names(own) == before


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "just words\n",
        "kind: Application\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{matrix: {}}], template: {}}\n",
        "kind: Application\nmetadata: {name: x}\nspec: {project: a, destination: {}, source: {chart: none}}\n",
        "kind: ApplicationSet\nmetadata: x\n",
        "kind: AppProject\nmetadata: x\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{git: {files: [{}]}}]}\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{git: {files: [{path: /x}]}}]}\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{git: {files: [{path: ../x}]}}]}\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{git: {files: [{path: a**}]}}]}\n",
        "kind: ApplicationSet\nmetadata: {name: x}\nspec: {generators: [{list: {elements: 3}}], template: {}}\n",
    ],
)
def test_a_file_of_other_people_stops_nothing(text: str, own: Path) -> None:
    before = names(own)
    extra(own, "theirs", text)
    assert before <= names(own)
    application = found(own).named("iris-staging")
    assert application
    assert Renderer(own, find_helm(ROOT), "tree").render(application).manifests


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"helm": {"valuesObject": {"fullnameOverride": "a"}}}, "a"),
        ({"helm": {"values": "fullnameOverride: b"}}, "b"),
        ({"helm": {"parameters": [{"name": "fullnameOverride", "value": "c"}]}}, "c"),
        ({"helm": {"releaseName": "mlflow", "valueFiles": ["/envs/platform/mlflow.yaml"]}}, "mlflow"),
        ({"path": "argocd/theirs"}, "of-kustomize"),
        ({"path": "argocd/plain", "directory": {"include": "yes-*.yaml"}}, "taken"),
    ],
    ids=["valuesObject", "values", "parameters", "valueFiles", "kustomize", "directory"],
)
def test_an_application_of_other_people_is_rendered(source: dict[str, object], expected: str, own: Path) -> None:
    (own / "argocd/theirs").mkdir()
    kustomization = (
        "configMapGenerator: [{name: of-kustomize, literals: [a=b]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n"
    )
    (own / "argocd/theirs/kustomization.yaml").write_text(kustomization, encoding="utf-8")
    (own / "argocd/plain").mkdir()
    for name in ("yes-1", "no-1"):
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "taken" if name == "yes-1" else "left"},
        }
        (own / f"argocd/plain/{name}.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    extra(own, "theirs", with_source(**source))
    application = found(own).named("theirs")
    assert application
    rendered = Renderer(own, find_helm(ROOT), "tree").render(application).manifests
    assert expected in {entry["metadata"]["name"] for entry in rendered}
    assert "left" not in {entry["metadata"]["name"] for entry in rendered}


def test_a_list_of_other_people_makes_an_application_each(own: Path) -> None:
    template = {"metadata": {"name": "theirs-{{ .name }}"}, "spec": APPLICATION["spec"]}
    extra(
        own,
        "list",
        {
            "kind": "ApplicationSet",
            "metadata": {"name": "theirs"},
            "spec": {
                "goTemplate": True,
                "generators": [{"list": {"elements": [{"name": "a"}, {"name": "b"}]}}],
                "template": template,
            },
        },
    )
    assert {"theirs-a", "theirs-b"} <= names(own)
