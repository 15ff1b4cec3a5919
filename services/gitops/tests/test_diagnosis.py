"""Diagnoses of pods and events that a real cluster (Kubernetes 1.34) reported."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from gitops.cluster.convergence import application_state, workload_state
from gitops.cluster.diagnosis import Finding, diagnose_application, diagnose_owners, diagnose_pods, pods_of

CAPTURED = Path(__file__).with_name("captured")
PODS: list[dict[str, Any]] = json.loads((CAPTURED / "pods.json").read_text())
EVENTS: list[dict[str, Any]] = json.loads((CAPTURED / "events.json").read_text())
LAST_WORDS = {("crashes", True): ["no such database: mlflow"], ("not-ready", False): ["waiting for postgres"]}


def logs(namespace: str, pod: str, container: str, previous: bool) -> list[str]:
    assert (namespace, container) == ("ml-pipeline", "server")
    return LAST_WORDS[pod, previous]


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.object: finding for finding in diagnose_pods(PODS, EVENTS, logs)}


def test_pods_that_are_ready_or_completed_are_skipped(findings: dict[str, Finding]) -> None:
    named = {title.partition("/")[2] for title in findings}
    assert named == {"crashes", "no-image", "no-secret", "not-ready", "too-big"}


@pytest.mark.parametrize(
    ("pod", "why", "advice"),
    [
        ("no-image", 'failed to resolve reference "ghcr.io/acme/none/mlflow:0.1.0"', "Push that image"),
        ("crashes", "CrashLoopBackOff", "kubectl --namespace ml-pipeline describe pod crashes"),
        ("crashes", "ended with status 1", "describe pod"),
        ("no-secret", 'secret "mlflow-database" not found', "Run `gitops bootstrap` again"),
        ("too-big", "Insufficient cpu", "lower `resources.requests`"),
        ("not-ready", "runs but is not ready", "describe pod"),
    ],
)
def test_each_finding_has_a_cause_and_a_remedy(findings: dict[str, Finding], pod: str, why: str, advice: str) -> None:
    finding = findings[f"Pod ml-pipeline/{pod}"]
    assert why in finding.why
    assert advice in finding.advice


@pytest.mark.parametrize(("started", "why"), [(False, "has not started up yet"), (True, "runs but is not ready")])
def test_a_starting_container_differs_from_one_that_is_not_ready(started: bool, why: str) -> None:
    pod = deepcopy(next(pod for pod in PODS if pod["metadata"]["name"] == "not-ready"))
    pod["status"]["containerStatuses"][0] |= {"started": started}
    (finding,) = diagnose_pods([pod], [], logs)
    assert why in finding.why


def test_log_lines_are_those_of_the_failed_run_and_appear_once(findings: dict[str, Finding]) -> None:
    assert findings["Pod ml-pipeline/crashes"].details == ["server: no such database: mlflow"]
    assert findings["Pod ml-pipeline/not-ready"].details[-1] == "server: waiting for postgres"
    assert findings["Pod ml-pipeline/no-secret"].details == []


def test_workloads_without_pods_and_claims_without_volumes_are_found_by_their_events() -> None:
    found = {finding.object.partition(" ")[0]: finding for finding in diagnose_owners(EVENTS)}
    assert found.keys() == {"ReplicaSet", "PersistentVolumeClaim"}
    assert 'serviceaccount "nobody" not found' in found["ReplicaSet"].why
    assert "storage class" in found["PersistentVolumeClaim"].advice


def test_pods_belong_to_the_application_that_labels_them() -> None:
    assert len(pods_of("mlflow", "ml-pipeline", PODS)) == len(PODS)
    assert pods_of("postgres", "ml-pipeline", PODS) == []
    assert len(pods_of("argocd", "argocd", PODS)) == len(PODS)


def application(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "mlflow", "namespace": "argocd"}, "status": status}


COMPARISON = {
    "type": "ComparisonError",
    "message": "Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown "
    "desc = failed to list refs: authentication required: Repository not found.",
}


@pytest.mark.parametrize(
    ("status", "object_", "why", "advice"),
    [
        ({"conditions": [COMPARISON]}, "Application mlflow", "authentication required", "--git-user"),
        (
            {
                "operationState": {
                    "phase": "Running",
                    "message": "one or more objects failed to apply, reason: ... Retrying attempt #2 at 2:00PM.",
                    "syncResult": {
                        "resources": [
                            {"kind": "Service", "namespace": "ml-pipeline", "name": "mlflow", "status": "Synced"},
                            {
                                "kind": "ServiceMonitor",
                                "namespace": "ml-pipeline",
                                "name": "mlflow",
                                "status": "SyncFailed",
                                "message": "The Kubernetes API could not find monitoring.coreos.com/ServiceMonitor: "
                                "no matches for kind",
                            },
                        ]
                    },
                }
            },
            "ServiceMonitor ml-pipeline/mlflow",
            "could not find",
            "brings this kind",
        ),
        (
            {
                "operationState": {
                    "phase": "Failed",
                    "message": "one or more synchronization tasks completed unsuccessfully",
                    "syncResult": {
                        "resources": [
                            {
                                "kind": "Job",
                                "namespace": "ml-pipeline",
                                "name": "mlflow-migration",
                                "hookPhase": "Failed",
                                "message": "Job has reached the specified backoff limit",
                            }
                        ]
                    },
                }
            },
            "Job ml-pipeline/mlflow-migration",
            "backoff limit",
            "describe application mlflow",
        ),
        (
            {"operationState": {"phase": "Error", "message": "ClusterRole x is not permitted in project platform"}},
            "Application mlflow",
            "not permitted",
            "apps/templates/project-",
        ),
    ],
)
def test_messages_of_argo_cd_are_reported_with_object_and_remedy(
    status: dict[str, Any], object_: str, why: str, advice: str
) -> None:
    (finding,) = diagnose_application(application(**status))
    assert finding.object == object_
    assert why in finding.why
    assert advice in finding.advice


WELL = {
    "sync": {"status": "Synced"},
    "health": {"status": "Healthy"},
    "operationState": {"phase": "Succeeded", "message": "successfully synced (all tasks run)"},
}


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        (WELL, True),
        ({key: value for key, value in WELL.items() if key != "operationState"}, True),
        ({**WELL, "sync": {"status": "OutOfSync"}}, False),
        ({**WELL, "health": {"status": "Progressing"}}, False),
        # A smoke test failed after the sync.
        ({**WELL, "operationState": {"phase": "Failed", "message": "Job failed"}}, False),
        ({**WELL, "operationState": {"phase": "Running"}}, False),
        ({}, False),
    ],
)
def test_an_application_is_settled_if_synced_healthy_and_its_last_operation_succeeded(
    status: dict[str, Any], settled: bool
) -> None:
    assert application_state("mlflow", application(**status)).settled is settled


def test_an_application_with_a_requested_refresh_is_not_settled() -> None:
    waiting = application(**WELL)
    waiting["metadata"]["annotations"] = {"argocd.argoproj.io/refresh": "normal"}
    assert not application_state("mlflow", waiting).settled
    assert application_state("mlflow", None).health == "Missing"


@pytest.mark.parametrize(
    ("generation", "status", "settled"),
    [
        (2, {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2}, True),
        (2, {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}, False),
        (2, {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 2}, False),
        (1, {}, False),
    ],
)
def test_a_workload_is_settled_if_all_its_new_pods_are_available(
    generation: int, status: dict[str, int], settled: bool
) -> None:
    workload = {
        "kind": "Deployment",
        "metadata": {"name": "argocd-server", "generation": generation},
        "spec": {"replicas": 2},
        "status": status,
    }
    assert workload_state(workload).settled is settled
