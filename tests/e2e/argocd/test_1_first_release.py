"""From a new fork to predictions in production: adopt, publish, bootstrap, release, promote."""

import os
import shutil
from typing import Any

from tests.e2e.argocd.cluster import can_pull
from tests.e2e.argocd.fork import ROOT, vendored_argocd
from tests.e2e.argocd.gitea import address
from tests.e2e.argocd.pipeline import NAMESPACE, Pipeline, settled
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.report import Report

CALLERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}]


def test_a_fork_is_adopted_and_its_images_and_chart_are_published(pipeline: Pipeline, report: Report) -> None:
    fork = pipeline.fork
    http = ["--registry-plain-http"] if pipeline.plain_http else []
    repository = f"--repo={address(NAMESPACE)}"
    fork.gitops("adopt", repository, "--forge=gitea", f"--registry={pipeline.registry}", *http, *vendored_argocd())
    written = fork.git("status", "--porcelain", "--untracked-files=all").splitlines()
    assert len(written) < 5, f"upstream's next version must merge: {written}"
    report.add("Adoption", f"- files: {', '.join(line.split()[-1] for line in written)}")
    # The tests do not wait ten minutes here.
    fork.replace("platform.yaml", r", minAge: \w+", "")
    # A published version never changes, and this registry may have versions of an earlier run.
    for chart in sorted(fork.folder.glob("charts/*/Chart.yaml")):
        if "type: application" in chart.read_text():
            fork.replace(str(chart.relative_to(fork.folder)), r"^version: .*$", f"version: {pipeline.chart}")
    fork.edit("envs/values.yaml", lambda values: _tune(pipeline, values))
    exporter = fork.read("charts/postgres/values.yaml")["exporter"]["image"]
    if not can_pull(pipeline.kube, f"{exporter['repository']}:{exporter['tag']}"):
        fork.edit("envs/platform/postgres.yaml", _without_exporter)
        report.add("Left out", "- postgres exporter: this cluster does not get its image")
    guard = fork.read("charts/minio/values.yaml")["guard"]["image"]
    if not can_pull(pipeline.kube, f"{guard['repository']}:{guard['tag']}"):
        fork.edit("envs/platform/minio.yaml", lambda values: _guarded_by(pipeline, values))
    fork.commit("Adopt")
    platform = {"mlflow": pipeline.images.mlflow, "training": pipeline.images.training}
    fork.gitops("bump", "platform", *(f"--image={name}={image.pin}" for name, image in platform.items()))
    # The fork uses the images and tools that make has built and pushed for this checkout.
    shutil.copytree(ROOT / ".cache" / "tools" / "bin", fork.folder / ".cache" / "tools" / "bin", symlinks=True)
    shutil.copy(ROOT / ".cache" / "images.json", fork.folder / ".cache" / "images.json")
    published = fork.program(
        ["tools/push-charts", "model-serving"],
        seconds=120,
        environment={"REGISTRY_PREFIX": pipeline.registry, **({"PLAIN_HTTP": "1"} if pipeline.plain_http else {})},
    )
    assert f"model-serving:{pipeline.chart}@sha256:" in published
    assert "OWNER/NAME" not in (fork.folder / "platform.yaml").read_text()
    if pipeline.without:
        report.add("Left out", f"- {', '.join(pipeline.without)}: this cluster does not reach its chart's repository")


def _without_exporter(values: dict[str, Any]) -> None:
    values["exporter"] = values["serviceMonitor"] = {"enabled": False}


def _guarded_by(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """Use an image for MinIO's HAProxy that was pushed here."""
    assert pipeline.images.haproxy, "this cluster does not get the image of HAProxy: make e2e-images"
    values["guard"] = {"image": pipeline.images.haproxy.values}


def _tune(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """Set what a person would set for a cluster: allowed callers, and no Ingress if no controller serves it."""
    values["networkPolicy"] = {"allowFrom": CALLERS}
    # Shorter than the charts' defaults, to notice a stuck rollout and changes of load sooner.
    values["rollout"] = {"progressDeadlineSeconds": 45}
    values["autoscaling"] = {"targetCPU": "150m", "scaleDownStabilizationSeconds": 15}
    if not pipeline.kube.run("get", "ingressclasses", "-o", "name").strip():
        values["ingress"] = {"enabled": False}


def test_bootstrap_brings_everything_up(pipeline: Pipeline, report: Report) -> None:
    minutes = os.environ.get("E2E_BOOTSTRAP_MINUTES", "10")
    pipeline.chat.start(pipeline.runner)
    options = [f"--without={name}" for name in pipeline.without]
    pipeline.fork.gitops(
        "bootstrap", f"--minutes={minutes}", "--notify=people", *options,
        seconds=float(minutes) * 60 + 60, environment={"GITOPS_NOTIFY_WEBHOOK_URL": pipeline.chat.url},
    )  # fmt: skip
    applications = pipeline.applications()
    assert {app["metadata"]["name"] for app in applications} == {
        "root", "argocd", "extra", "postgres", "minio", "mlflow", "observability", "monitoring",
        "training-iris", "training-penguins", "training-wine",
    } - set(pipeline.without)  # fmt: skip
    assert [app["metadata"]["name"] for app in applications if not settled(app)] == []
    report.add("Applications", *(f"- {app['metadata']['name']}: Synced, Healthy" for app in applications))


def test_bootstrap_again_changes_nothing(pipeline: Pipeline) -> None:
    before = _secrets(pipeline)
    options = [f"--without={name}" for name in pipeline.without]
    printed = pipeline.fork.gitops("bootstrap", *options, seconds=300)
    assert _secrets(pipeline) == before
    assert "argocd-initial-admin-secret" in printed


def _secrets(pipeline: Pipeline) -> dict[str, Any]:
    found = pipeline.kube.items("ml-pipeline", "secrets")
    return {secret["metadata"]["name"]: secret["data"] for secret in found}


def test_the_first_release_reaches_staging(pipeline: Pipeline, report: Report) -> None:
    printed = pipeline.fork.program(["tools/first-release"], seconds=600)
    assert "as pinned" in printed
    pipeline.wait_settled(STAGING.application, pipeline.fork.git("rev-parse", "HEAD"))
    answer = pipeline.predict(STAGING)
    pins = pipeline.pins(STAGING)
    assert (answer.version, answer.digest) == (pins["model"]["version"], pins["model"]["digest"])
    assert pipeline.application(PRODUCTION.application) == {}
    model = f"model {pins['model']['name']} {pins['model']['version']}"
    told = pipeline.chat.wait_for(f"{STAGING.application} is deployed and healthy", model, pins["image"]["digest"])
    report.add("What people were told", f"- {' '.join(told.split())}")


def test_a_promotion_brings_exactly_the_same_to_production(pipeline: Pipeline) -> None:
    pipeline.follow(pipeline.promote(PRODUCTION), PRODUCTION)
    answer = pipeline.predict(PRODUCTION)
    pins = pipeline.pins(STAGING)
    assert pipeline.pins(PRODUCTION) == pins
    assert (answer.version, answer.digest) == (pins["model"]["version"], pins["model"]["digest"])
    printed = pipeline.fork.gitops("status")
    assert printed.count("as pinned") == 2
