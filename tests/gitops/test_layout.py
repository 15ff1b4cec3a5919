"""Proves what the files under apps/ and envs/ promise one another: order, completeness, names."""

from pathlib import Path

import pytest

from gitops.argocd import NAMESPACES
from gitops.environments import environments, namespace_of
from tests.gitops.stack import Stack
from tests.support import helm
from tests.support.helm import ROOT
from tests.support.manifests import metadata

WAVE = "argocd.argoproj.io/sync-wave"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("postgres", "mlflow"),
        ("minio", "mlflow"),
        ("monitoring", "mlflow"),
        ("mlflow", "training"),
        ("mlflow", "argocd"),
    ],
)
def test_first_start_goes_in_order(earlier: str, later: str, everything: Stack) -> None:
    waves = {app.name: int(metadata(app.manifest, "annotations").get(WAVE, 0)) for app in everything.apps}
    assert waves[earlier] < waves[later]


def test_every_file_of_envs_is_read_by_an_application(tree: Path, everything: Stack) -> None:
    read = {
        name.removeprefix("$values").lstrip("/")
        for app in everything.apps
        for source in app.sources
        for name in (source.get("helm") or {}).get("valueFiles") or []
    }
    there = {str(path.relative_to(tree)) for path in (tree / "envs").rglob("*.yaml")}
    assert there == read


def test_every_chart_but_the_released_one_has_an_application_of_its_name(everything: Stack) -> None:
    charts = set(helm.charts()) - {"model-serving"}
    assert charts <= {app.name for app in everything.apps}


@pytest.mark.parametrize("environment", environments(ROOT))
def test_every_environment_is_served(environment: str, everything: Stack) -> None:
    app = everything.app(f"serving-{environment}")
    assert app.namespace == namespace_of(environment)
    (job,) = (manifest for manifest in app.rendered if manifest["kind"] == "Job")
    variables = {each["name"]: each.get("value") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["SMOKE_ALIAS"] == environment
    assert variables["MODEL_URI"]
    assert variables["MODEL_DIGEST"]


def test_bootstrap_makes_every_namespace_that_is_written_to(everything: Stack) -> None:
    assert {app.namespace for app in everything.apps} <= set(NAMESPACES)


def test_a_file_of_apps_holds_what_it_is_called() -> None:
    for path in (ROOT / "apps").glob("*.yaml"):
        assert f"\n  name: {path.stem}\n" in path.read_text(encoding="utf-8"), path
