"""`gitops promote` for several services and environments: they do not affect one another."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.cli import execute
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import ROOT, add_service, commit_all, git, release_file
from services.gitops.tests.github import GitHub
from services.gitops.tests.promotion_setup import BRANCH, STAGING, push, release

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub


@pytest.fixture
def garden(clone: Path, hub: GitHub) -> Path:
    """Three services: iris and wine run in staging, roses was never released."""
    add_service(clone, "wine", "wine-classifier")
    add_service(clone, "roses", "roses-classifier")
    push(clone, "staging", release(5), "bump(staging/wine): wine 5", "wine")
    return clone


def outcomes(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, str]:
    """Return the outcome of each promotion."""
    capsys.readouterr()
    assert execute(["promote", *arguments, "--json"]) == code
    return {entry["target"]: entry["outcome"] for entry in json.loads(capsys.readouterr().out)}


def test_each_service_has_its_own_pull_request(
    garden: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcomes(capsys) == {
        "production/iris": "opened",
        "production/wine": "opened",
        "production/roses": "not released",
    }
    for service in ("iris", "wine"):
        changed = git(origin, "diff", "--name-only", "main", f"promote/production/{service}")
        assert changed == str(release_file("production", service))
    bodies = {pull["head"]["ref"]: pull["body"] for pull in hub.opened()}
    assert "promotion from staging/wine to production/wine" in bodies["promote/production/wine"]


def test_a_problem_with_one_service_stops_no_other(
    garden: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes(capsys)
    assert execute(["hold", "staging/wine", "--reason", "wrong answers"]) == 0
    assert [pull["head"]["ref"] for pull in hub.opened()] == [BRANCH]
    assert outcomes(capsys, "production")["production/wine"] == "refused"
    assert [pull["head"]["ref"] for pull in hub.opened()] == [BRANCH]
    assert execute(["hold", "staging/iris", "--reason", "wrong answers"]) == 0
    assert set(outcomes(capsys, code=3).values()) == {"refused", "not released"}
    (garden / STAGING).write_text("release: [\n")
    commit_all(garden, "broken")
    git(garden, "push", "--quiet")
    assert outcomes(capsys, code=2)["production/iris"] == "refused"


def test_each_environment_has_its_own_minimum_age(
    garden: Path, hub: GitHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITOPS_MIN_AGE")
    assert "minAge: 10m" in (garden / "platform.yaml").read_text()
    assert execute(["promote", "production/wine"]) == 3
    assert "10 minutes are required" in capsys.readouterr().err
    assert outcomes(capsys, "production/wine", "--min-age", "0") == {"production/wine": "opened"}


def test_an_environment_can_feed_several(clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]) -> None:
    text = (clone / "platform.yaml").read_text().replace("services:", "  - {name: eu, from: staging}\nservices:", 1)
    (clone / "platform.yaml").write_text(text)
    commit_all(clone, "another environment")
    git(clone, "push", "--quiet")
    assert outcomes(capsys) == {"production/iris": "opened", "eu/iris": "opened"}
    assert execute(["hold", "eu/iris", "--reason", "freeze"]) == 2
    assert execute(["hold", "staging/iris", "--reason", "freeze"]) == 0
    assert hub.opened() == []


SOURCES: dict[str, dict[str, Any]] = {
    "values-object": {"chart": "podinfo", "helm": {"valuesObject": {"replicaCount": 2}}},
    "parameters": {"chart": "podinfo", "helm": {"parameters": [{"name": "replicaCount", "value": "2"}]}},
    "kustomize": {"path": "kustomize", "kustomize": {"namePrefix": "a-"}},
    "directory": {"path": "manifests", "directory": {"include": "{a,b}.yaml"}},
}


def test_applications_of_apps_extra_do_not_stop_a_promotion(
    clone: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    helm = clone / ".cache/tools/bin/helm"
    helm.symlink_to(ROOT / ".cache/tools/bin/helm")
    added = [_added("Application", name, _spec(source)) for name, source in SOURCES.items()]
    template = {"metadata": {"name": "{{name}}"}, "spec": _spec({"path": "{{name}}"})}
    generators = [{"list": {"elements": [{"name": "a"}]}}]
    added.append(_added("ApplicationSet", "listed", {"generators": generators, "template": template}))
    for manifest in added:
        (clone / f"apps/extra/{manifest['metadata']['name']}.yaml").write_text(yaml.safe_dump(manifest))
    commit_all(clone, "Run what is ours")
    git(clone, "push", "--quiet")
    assert outcomes(capsys) == {"production/iris": "opened"}
    # Helm is installed, so the pull request shows the changes of objects.
    assert "Deployment" in hub.opened()[0]["body"]


def _added(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _spec(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "project": "default",
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "theirs"},
        "source": {"repoURL": "https://example.com/theirs.git", "targetRevision": "1.0.0", **source},
    }
