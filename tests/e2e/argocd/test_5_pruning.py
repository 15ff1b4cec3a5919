"""What goes from git goes from the cluster, and data never does."""

from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.report import Report

PLATFORM = "ml-pipeline"


def test_an_application_taken_from_git_is_pruned_and_comes_back(pipeline: Pipeline, report: Report) -> None:
    pipeline.fork.git("rm", "--quiet", "apps/training.yaml")
    removed = pipeline.fork.commit("Train no more")
    pipeline.look_at_git()
    pipeline.kube.wait(
        "the training CronJob is gone",
        lambda: not pipeline.kube.items(PLATFORM, "cronjobs", {"app.kubernetes.io/instance": "training"}),
        seconds=120,
        namespace=PLATFORM,
    )
    pipeline.fork.git("revert", "--no-edit", removed)
    commit = pipeline.fork.push()
    pipeline.look_at_git()
    pipeline.wait_application("training", lambda _: True, 90)
    pipeline.wait_settled("training", commit)
    report.add("Pruning", "- apps/training.yaml removed: its CronJob went; reverted: it came back")


def test_the_database_outlives_its_application(pipeline: Pipeline, report: Report) -> None:
    before = _identities(pipeline)
    pipeline.fork.git("rm", "--quiet", "apps/postgres.yaml", "apps/minio.yaml")
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
    assert _identities(pipeline) == before, "adopted again as they were"
    report.add(
        "Pruning",
        "- apps/postgres.yaml and apps/minio.yaml removed: servers and volumes stayed, and were adopted again",
    )


def _identities(pipeline: Pipeline) -> dict[str, str]:
    found = [
        *pipeline.kube.items(PLATFORM, "persistentvolumeclaims"),
        *pipeline.kube.items(PLATFORM, "statefulsets"),
    ]
    return {f"{entry['kind']}/{entry['metadata']['name']}": entry["metadata"]["uid"] for entry in found}
