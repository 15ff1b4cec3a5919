"""What is removed from git is removed from the cluster, except data."""

from typing import Any

from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.report import Report

PLATFORM = "ml-pipeline"


def test_an_application_removed_from_git_is_pruned_and_comes_back(pipeline: Pipeline, report: Report) -> None:
    name = "training-wine"
    pipeline.fork.git("rm", "-r", "--quiet", "models/wine")
    removed = pipeline.fork.commit("Train no more")
    pipeline.look_at_git()
    pipeline.kube.wait(
        "the training CronJob is gone",
        lambda: not pipeline.kube.items(PLATFORM, "cronjobs", {"app.kubernetes.io/instance": name}),
        seconds=120,
        namespace=PLATFORM,
    )
    pipeline.fork.git("revert", "--no-edit", removed)
    commit = pipeline.fork.push()
    pipeline.look_at_git()
    pipeline.wait_application(name, lambda _: True, 90)
    pipeline.wait_settled(name, commit)
    report.add("Pruning", "- a folder of models/ removed: its CronJob went; reverted: it came back")


def test_the_database_outlives_its_application(pipeline: Pipeline, report: Report) -> None:
    before = _identities(pipeline)
    pipeline.fork.edit("apps/values.yaml", _without_data)
    removed = pipeline.fork.commit("No database any more")
    pipeline.look_at_git()
    pipeline.kube.wait(
        "the applications are gone",
        lambda: not pipeline.application("postgres") and not pipeline.application("minio"),
        seconds=120,
        namespace="argocd",
        names=("none",),
    )
    assert _identities(pipeline) == before, "volumes and servers stay"
    pipeline.fork.git("revert", "--no-edit", removed)
    commit = pipeline.fork.push()
    pipeline.look_at_git()
    for name in ("postgres", "minio"):
        pipeline.wait_application(name, lambda _: True, 90)
        pipeline.wait_settled(name, commit)
    assert _identities(pipeline) == before, "the same objects are adopted again"
    report.add(
        "Pruning",
        "- postgres and minio taken out of apps/values.yaml: servers and volumes stayed, and were adopted again",
    )


def _without_data(values: dict[str, Any]) -> None:
    for name in ("postgres", "minio"):
        del values["applications"][name]


def _identities(pipeline: Pipeline) -> dict[str, str]:
    found = [
        *pipeline.kube.items(PLATFORM, "persistentvolumeclaims"),
        *pipeline.kube.items(PLATFORM, "statefulsets"),
    ]
    return {f"{entry['kind']}/{entry['metadata']['name']}": entry["metadata"]["uid"] for entry in found}
