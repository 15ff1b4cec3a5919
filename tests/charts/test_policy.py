"""Each rule refuses a release that breaks it and names the object, and accepts a release that follows all rules."""

import copy
import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.support import pod_rules, policy, schemas, set_rules
from tests.support.manifests import Manifest, name_of, parse

(LIST,) = parse(Path(__file__).with_name("release.yaml").read_text(encoding="utf-8"))
# Converted through JSON, because YAML's anchors make one object of values that a test must change in one place.
RELEASE: list[Manifest] = json.loads(json.dumps(LIST["items"]))
GONE: Any = object()

WEB, JOB, SERVICE = "Deployment/web", "Job/web-check", "Service/web"
POD = "spec.template.spec"
MAIN = f"{POD}.containers.0"
INIT = f"{POD}.initContainers.0"

# rule, object, path inside it, new value, part of the sentence
BROKEN = [
    ("restricted", WEB, f"{POD}.hostNetwork", True, "Deployment/web: hostNetwork must not be set"),
    ("restricted", WEB, f"{POD}.hostPID", True, "hostPID must not be set"),
    ("restricted", JOB, f"{POD}.hostIPC", True, "Job/web-check: hostIPC must not be set"),
    (
        "restricted",
        WEB,
        f"{POD}.volumes.0",
        {"name": "tmp", "hostPath": {"path": "/"}},
        "volume tmp must not be a hostPath",
    ),
    ("restricted", WEB, f"{POD}.securityContext.sysctls", [{"name": "a", "value": "1"}], "sysctls must not be set"),
    ("restricted", WEB, f"{POD}.securityContext.runAsNonRoot", GONE, "container prepare: runAsNonRoot must be true"),
    ("restricted", WEB, f"{POD}.securityContext.seccompProfile", GONE, "seccompProfile must be RuntimeDefault"),
    ("restricted", WEB, f"{INIT}.securityContext.runAsUser", 0, "container prepare: runAsUser must not be 0"),
    (
        "restricted",
        WEB,
        f"{INIT}.securityContext.allowPrivilegeEscalation",
        GONE,
        "container prepare: allowPrivilegeEsc",
    ),
    ("restricted", WEB, f"{MAIN}.securityContext.privileged", True, "container web: privileged must not be set"),
    ("restricted", JOB, f"{MAIN}.securityContext.capabilities.drop", ["NET_RAW"], "capabilities must drop ALL"),
    ("restricted", JOB, f"{MAIN}.securityContext.capabilities.add", ["SYS_ADMIN"], "capabilities must not be added"),
    ("restricted", JOB, f"{MAIN}.securityContext.procMount", "Unmasked", "procMount must not be set"),
    ("restricted", WEB, f"{MAIN}.ports.0.hostPort", 80, "host ports must not be used"),
    ("numeric_user", JOB, f"{POD}.securityContext.runAsUser", GONE, "container check: runAsUser must be a number"),
    (
        "read_only_root",
        WEB,
        f"{INIT}.securityContext.readOnlyRootFilesystem",
        False,
        "readOnlyRootFilesystem must be true",
    ),
    (
        "pinned_images",
        JOB,
        f"{MAIN}.image",
        "registry.example.com:5000/check",
        "registry.example.com:5000/check must carry",
    ),
    ("pinned_images", JOB, f"{MAIN}.image", "example.com/check:latest", "or a tag other than latest"),
    ("pinned_images", WEB, f"{INIT}.image", f"web:latest@sha256:{'0' * 64}", "or a tag other than latest"),
    (
        "bounded_resources",
        WEB,
        f"{INIT}.resources.limits.memory",
        GONE,
        "container prepare: resources.limits.memory must be set",
    ),
    ("bounded_resources", JOB, f"{MAIN}.resources", GONE, "container check: resources.requests.cpu must be set"),
    ("probed", WEB, f"{MAIN}.startupProbe", GONE, "container web: startupProbe must be set"),
    ("probed", WEB, f"{MAIN}.livenessProbe", GONE, "container web: livenessProbe must be set"),
    ("no_token", WEB, f"{POD}.automountServiceAccountToken", GONE, "must be false in the pod"),
    ("no_token", "ServiceAccount/web", "automountServiceAccountToken", True, "ServiceAccount/web: automount"),
    ("no_service_links", JOB, f"{POD}.enableServiceLinks", GONE, "Job/web-check: enableServiceLinks must be false"),
    ("no_secrets", "ConfigMap/web", "kind", "Secret", "Secret/web: a Secret must not be rendered"),
    (
        "no_secrets",
        WEB,
        f"{MAIN}.env.0",
        {"name": "AWS_SECRET_ACCESS_KEY", "value": "a"},
        "AWS_SECRET_ACCESS_KEY must come from",
    ),
    ("no_secrets", WEB, f"{MAIN}.env.0", {"name": "API_TOKEN", "value": "a"}, "API_TOKEN must come from a Secret"),
    (
        "no_secrets",
        WEB,
        f"{MAIN}.args",
        ["--db=postgresql://u:hunter2@db/x"],
        "Deployment/web: an address must not hold a password",
    ),
    (
        "no_secrets",
        "ConfigMap/web",
        "data.DATABASE",
        "http://u:hunter2@db",
        "ConfigMap/web: an address must not hold a password",
    ),
    ("labelled", SERVICE, "metadata.labels", {}, "Service/web: label app.kubernetes.io/name must be set"),
    ("labelled", SERVICE, "metadata.labels", {}, "Service/web: label helm.sh/chart must be set"),
    ("labelled", JOB, "spec.template.metadata.labels", {}, "label app.kubernetes.io/part-of must be set on its pods"),
    ("named", WEB, "metadata.name", "w" * 64, "its name must be a DNS label of at most 63 characters"),
    ("named", SERVICE, "metadata.name", "Web", "Service/Web: its name must be a DNS label"),
    ("named", SERVICE, "metadata.name", "2024-web", "Service/2024-web: its name must start with a letter"),
    ("named", SERVICE, "metadata.labels", {"helm.sh/chart": "web-1.0.0+7"}, "helm.sh/chart must not be 'web-1.0.0+7'"),
    ("hooked_twice", JOB, "metadata.annotations", {"helm.sh/hook": "post-upgrade"}, "a hook must carry both"),
    ("hooked_twice", JOB, "metadata.annotations", {"argocd.argoproj.io/hook": "Sync"}, "a hook must carry both"),
    (
        "hooked_twice",
        JOB,
        "metadata.annotations",
        {"argocd.argoproj.io/hook": "Sync", "helm.sh/hook": "test"},
        "hook-delete-policy must be BeforeHookCreation",
    ),
    ("mounted", WEB, f"{POD}.volumes", [], "container web: volume tmp is mounted but does not exist"),
    ("mounted", WEB, f"{MAIN}.volumeMounts", [], "volume tmp exists but is not mounted"),
    (
        "own_pods",
        WEB,
        "spec.selector.matchLabels",
        {"app.kubernetes.io/name": "other"},
        "its selector does not match its own pods",
    ),
    (
        "own_pods",
        WEB,
        "spec.selector.matchLabels",
        {"app.kubernetes.io/name": "web"},
        "matches the pods of Job/web-check",
    ),
    (
        "served_pods",
        SERVICE,
        "spec.selector",
        {"app.kubernetes.io/name": "web"},
        "matches Deployment/web, Job/web-check",
    ),
    ("served_pods", SERVICE, "spec.selector", {"app.kubernetes.io/name": "other"}, "matches no pods"),
    ("served_pods", SERVICE, "spec.ports.0.targetPort", "grpc", "Deployment/web has no port grpc"),
    (
        "guarded_pods",
        "PodDisruptionBudget/web",
        "spec.selector.matchLabels",
        {"a": "b"},
        "its selector matches no pods",
    ),
    (
        "isolated",
        "NetworkPolicy/web",
        "spec.policyTypes",
        ["Ingress"],
        "Deployment/web: no NetworkPolicy restricts its egress",
    ),
    (
        "isolated",
        "NetworkPolicy/web",
        "spec.podSelector",
        {"matchLabels": {"app.kubernetes.io/component": "server"}},
        "Job/web-check: no NetworkPolicy restricts its ingress",
    ),
    ("scaled", WEB, "spec.replicas", 2, "replicas must be left to HorizontalPodAutoscaler/web"),
    (
        "scaled",
        "HorizontalPodAutoscaler/web",
        "spec.scaleTargetRef.name",
        "other",
        "its target Deployment/other does not exist",
    ),
    ("scaled", "HorizontalPodAutoscaler/web", "spec.minReplicas", 1, "may run a single pod"),
    ("monitored", "ServiceMonitor/web", "spec.endpoints.0.port", "metrics", "no Service has a port named metrics"),
    ("monitored", SERVICE, "metadata.labels", {}, "ServiceMonitor/web: its selector matches no Service"),
    ("checksummed", WEB, "spec.template.metadata.annotations", {}, "it reads the ConfigMap web"),
]


def broken(name: str, path: str, value: Any) -> list[Manifest]:
    """Return the release with one value of one object replaced or removed."""
    manifests = copy.deepcopy(RELEASE)
    node: Any = next(manifest for manifest in manifests if name_of(manifest) == name)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    node = reduce(lambda inner, part: inner[part], parents, node)
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return manifests


def test_a_release_that_follows_the_rules_passes() -> None:
    assert policy.violations(RELEASE) == []


@pytest.mark.parametrize(("rule", "name", "path", "value", "sentence"), BROKEN)
def test_a_broken_rule_is_found(rule: str, name: str, path: str, value: Any, sentence: str) -> None:
    manifests = broken(name, path, value)
    assert [found for found in judged_by(rule, manifests) if sentence in found]
    assert set(judged_by(rule, manifests)) <= set(policy.violations(manifests))


def test_an_object_that_exists_twice_is_found() -> None:
    assert judged_by("unique", [*RELEASE, RELEASE[0]]) == ["Deployment/web exists twice"]


def test_the_name_of_a_cron_job_is_shorter() -> None:
    cron_job: Manifest = {"kind": "CronJob", "metadata": {"name": "w" * 53}}
    assert "at most 52 characters" in next(pod_rules.named(cron_job))


def judged_by(rule: str, manifests: list[Manifest]) -> list[str]:
    for alone in pod_rules.RULES:
        if alone.__name__ == rule:
            return [found for manifest in manifests for found in alone(manifest)]
    (together,) = (together for together in set_rules.RULES if together.__name__ == rule)
    return list(together(manifests))


def test_every_rule_is_tried() -> None:
    assert {rule.__name__ for rule in (*pod_rules.RULES, *set_rules.RULES)} == {"unique", *(case[0] for case in BROKEN)}


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize(
    ("name", "path", "value", "sentence"),
    [
        (WEB, f"{POD}.replica", 1, "'replica' was unexpected"),
        (WEB, f"{MAIN}.ports.0.containerPort", "http", "'http' is not of type 'integer'"),
        (SERVICE, "spec.ports.0.port", GONE, "'port' is a required property"),
        ("PodDisruptionBudget/web", "apiVersion", "policy/v1beta1", "has no PodDisruptionBudget in policy/v1beta1"),
        ("ServiceMonitor/web", "spec.endpoints.0.ports", "http", "'ports' was unexpected"),
    ],
)
def test_the_schemas_refuse_what_kubernetes_would(
    name: str, path: str, value: Any, sentence: str, version: str
) -> None:
    assert [problem for manifest in RELEASE for problem in schemas.problems(manifest, version)] == []
    manifests = broken(name, path, value)
    assert [found for manifest in manifests for found in schemas.problems(manifest, version) if sentence in found]
