"""Argo CD's settings, tested with its own command: the health scripts and the rights.

The scripts run in the Lua that Argo CD embeds, which has no standard library. Its own enforcer decides about rights.
The tests need the `argocd` command on PATH, and no cluster.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.rendering.applications import chart_documents
from gitops.rendering.render import find_helm
from tests.support.helm import ROOT

PATCHES = ROOT / "argocd" / "patches"


@pytest.fixture(scope="module")
def argocd(tmp_path_factory: pytest.TempPathFactory) -> "Argocd":
    path = shutil.which("argocd")
    if path is None:
        pytest.skip("the argocd command is not on PATH: it runs these checks")
    return Argocd(path, tmp_path_factory.mktemp("argocd"))


class Argocd:
    """The command, with an empty home and without a cluster."""

    def __init__(self, program: str, home: Path) -> None:
        self.program, self.home = program, home
        # The command requires a cluster's address, even if it sends no request to it.
        cluster = {"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}
        context = {"name": "none", "context": {"cluster": "none", "user": "none", "namespace": "argocd"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
        self.config = self.file("kubeconfig", {**config, "current-context": "none"})

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self.config)}
        command = [self.program, "admin", "settings", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)

    def file(self, name: str, content: Any) -> Path:
        path = self.home / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    def health(self, manifest: dict[str, Any]) -> str:
        settings = yaml.safe_load((PATCHES / "argocd-cm.yaml").read_text(encoding="utf-8"))
        settings["metadata"] |= {"namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}}
        where = ("--argocd-cm-path", self.file("argocd-cm.yaml", settings))
        done = self.run("resource-overrides", "health", self.file("object.yaml", manifest), *where)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1]

    def may(self, subject: str, action: str, resource: str, name: str) -> bool:
        role = yaml.safe_load((PATCHES / "argocd-rbac-cm.yaml").read_text(encoding="utf-8"))["data"]["policy.default"]
        policy = self.file("policy.csv", "\n".join(policies()))
        options = ("--policy-file", policy, "--default-role", role)
        done = self.run("rbac", "can", subject, action, resource, name, *options)
        assert done.stdout.strip() in {"Yes", "No"}, done.stderr
        return done.stdout.strip() == "Yes"


def policies() -> list[str]:
    documents = chart_documents(ROOT, find_helm(ROOT))
    (project,) = (
        entry for entry in documents if (entry["kind"], entry["metadata"]["name"]) == ("AppProject", "serving")
    )
    return [policy for role in project["spec"]["roles"] for policy in role["policies"]]


def application_set(*conditions: tuple[str, str]) -> dict[str, Any]:
    found = [{"type": kind, "status": status, "message": "told so"} for kind, status in conditions]
    status = {"status": {"conditions": found}} if conditions else {}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "ApplicationSet",
        "metadata": {"name": "iris-staging", "namespace": "argocd"},
        **status,
    }


def autoscaler(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "web"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": "told so"}
                for kind, status, reason in conditions
            ]
        },
    }


@pytest.mark.parametrize(
    ("manifest", "health"),
    [
        (application_set(), "Healthy"),
        (application_set(("ErrorOccurred", "True"), ("ResourcesUpToDate", "False")), "Healthy"),
        (autoscaler(), "Healthy"),
        (
            autoscaler(("AbleToScale", "True", "ReadyForNewScale"), ("ScalingActive", "True", "ValidMetricFound")),
            "Healthy",
        ),
        (
            autoscaler(("AbleToScale", "True", "Succeeded"), ("ScalingActive", "False", "FailedGetResourceMetric")),
            "Healthy",
        ),
        (autoscaler(("AbleToScale", "False", "FailedGetScale")), "Progressing"),
        (
            autoscaler(("AbleToScale", "True", "Succeeded"), ("ScalingActive", "False", "InvalidMetricSourceType")),
            "Degraded",
        ),
    ],
)
def test_health_of_an_autoscaler(manifest: dict[str, Any], health: str, argocd: Argocd) -> None:
    assert argocd.health(manifest) == health


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (None, "Progressing"),
        ({"health": {}}, "Progressing"),
        ({"health": {"status": "Healthy"}}, "Healthy"),
        ({"health": {"status": "Degraded", "message": "no pods"}}, "Degraded"),
    ],
)
def test_health_of_an_application(status: dict[str, Any] | None, health: str, argocd: Argocd) -> None:
    manifest = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "web"}}
    assert argocd.health(manifest if status is None else {**manifest, "status": status}) == health


PROMOTER, VIEWER, ANYBODY = "proj:serving:promoter", "proj:serving:viewer", "somebody"


@pytest.mark.parametrize(
    ("subject", "action", "name", "allowed"),
    [
        (PROMOTER, "sync", "serving/iris-production", True),
        (PROMOTER, "rollback", "serving/iris-production", True),
        (PROMOTER, "update", "serving/iris-staging", False),
        (PROMOTER, "create", "serving/iris-staging", False),
        (PROMOTER, "override", "serving/iris-production", False),
        (PROMOTER, "delete", "serving/iris-production", False),
        (PROMOTER, "sync", "platform/postgres", False),
        (VIEWER, "get", "serving/iris-production", True),
        (VIEWER, "sync", "serving/iris-production", False),
        (VIEWER, "rollback", "serving/iris-production", False),
        (ANYBODY, "get", "platform/postgres", True),
        (ANYBODY, "sync", "serving/iris-staging", False),
    ],
)
def test_who_may_do_what(subject: str, action: str, name: str, allowed: bool, argocd: Argocd) -> None:
    assert argocd.may(subject, action, "applications", name) is allowed


def test_an_operation_ends_within_ten_minutes() -> None:
    """Otherwise an operation that waits for a broken pod delays the sync of the commit that fixes it."""
    settings = yaml.safe_load((PATCHES / "argocd-cmd-params-cm.yaml").read_text(encoding="utf-8"))
    assert 0 < int(settings["data"]["controller.sync.timeout.seconds"]) <= 600


def test_argo_cd_accepts_its_settings(argocd: Argocd) -> None:
    settings = yaml.safe_load((PATCHES / "argocd-cm.yaml").read_text(encoding="utf-8"))
    settings["metadata"] |= {"namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}}
    done = argocd.run("validate", "--argocd-cm-path", argocd.file("argocd-cm.yaml", settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "❌" not in done.stdout
