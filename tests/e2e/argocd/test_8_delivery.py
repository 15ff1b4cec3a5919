"""A change of code on its way: built, pushed by digest, pinned in staging, promoted, served; then rolled back and held.

What a workflow of a forge does in jobs, in the same order and by the same commands. What a person would type is
recorded as it looks at a terminal; `make recording` turns that into the picture that the README begins with.
"""

import os

import pytest

from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.argocd.recording import Recording
from tests.e2e.images import Image, pushed_images
from tests.e2e.kube import CommandError
from tests.e2e.report import Report
from tests.e2e.story import REPORTS

TAG = "1.1.0"


@pytest.fixture(scope="module")
def recording() -> Recording:
    """The session at a terminal."""
    return Recording(REPORTS / "delivery.cast")


@pytest.fixture(scope="module")
def built(pipeline: Pipeline) -> Image:
    """The image of a commit that changes the service's code."""
    module = pipeline.fork.folder / "services" / "serving" / "src" / "serving" / "__init__.py"
    module.write_text(module.read_text() + f"\n# {pipeline.chart}\n")
    pipeline.fork.commit("Change the service")
    variables = {"TAG": TAG, "IMAGE_REPOSITORY": pipeline.registry}
    settings = [f"{name}={os.environ[name]}" for name in ("CONTAINER_BUILD", "BASE_IMAGE") if os.environ.get(name)]
    pipeline.fork.program(["make", "image-serving", f"TAG={TAG}", *settings], seconds=800)
    pipeline.fork.program(["tools/push-images", "serving"], seconds=120, environment=variables)
    return pushed_images(pipeline.fork.folder).serving


def test_a_change_of_code_reaches_staging(
    pipeline: Pipeline, report: Report, built: Image, recording: Recording
) -> None:
    before = pipeline.pins(STAGING)
    assert built.digest != before["image"]["digest"]
    recording.say("what runs where")
    pipeline.fork.recorded(recording, "gitops status")
    recording.say("a new image was built: staging gets it, by a commit")
    pipeline.fork.recorded(recording, f"gitops bump {STAGING} --image {built.tag}@{built.digest}")
    commit = pipeline.fork.git("rev-parse", "HEAD")
    pipeline.follow(commit, STAGING)
    assert pipeline.images_of(STAGING) == {built.digest}
    assert pipeline.pins(STAGING)["model"] == before["model"], "nothing else moved"
    report.add("Delivery", f"- staging runs {built.digest[:19]} by commit {commit[:7]}")


def test_a_merged_promotion_brings_the_same_digest_to_production(
    pipeline: Pipeline, report: Report, built: Image, recording: Recording
) -> None:
    fork = pipeline.fork
    with pipeline.load(PRODUCTION) as results:
        recording.say("Argo CD has synced it, and its smoke test passed: propose it for production")
        fork.recorded(recording, "gitops promote --branch-only")
        recording.say("a person merges the proposal")
        fork.git("fetch", "--quiet", "origin")
        fork.recorded(recording, f"git merge --no-ff --no-edit --stat origin/promote/{PRODUCTION}")
        fork.recorded(recording, "git push --quiet origin main")
        commit = fork.git("rev-parse", "HEAD")
        pipeline.follow(commit, PRODUCTION)
    fork.recorded(recording, "gitops status")
    assert pipeline.images_of(PRODUCTION) == {built.digest}
    assert pipeline.pins(PRODUCTION) == pipeline.pins(STAGING)
    report.add("Delivery", f"- production runs {built.digest[:19]} by merge {commit[:7]}")
    report.add("Requests", f"- promotion of an image: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_rollback_is_served_and_held(pipeline: Pipeline, report: Report, built: Image, recording: Recording) -> None:
    with pipeline.load(PRODUCTION) as results:
        recording.say("and back, with a hold, so that nothing undoes it")
        pipeline.fork.recorded(recording, f"gitops rollback {PRODUCTION} --reason 'it answers slowly'")
        commit = pipeline.fork.git("rev-parse", "HEAD")
        pipeline.follow(commit, PRODUCTION)
    assert built.digest not in pipeline.images_of(PRODUCTION)
    with pytest.raises(CommandError, match="it answers slowly"):
        pipeline.fork.gitops("promote", str(PRODUCTION), "--branch-only")
    with pytest.raises(CommandError, match="gitops promote"):
        pipeline.fork.gitops("bump", str(PRODUCTION), f"--image={built.pin}")
    pipeline.fork.recorded(recording, "gitops status")
    report.add("Delivery", f"- rolled back by commit {commit[:7]}, and held: promote refuses")
    report.add("Requests", f"- rollback: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_an_unheld_environment_is_promoted_again(pipeline: Pipeline, report: Report, built: Image) -> None:
    pipeline.fork.gitops("unhold", str(PRODUCTION))
    commit = pipeline.promote(PRODUCTION)
    pipeline.follow(commit, PRODUCTION)
    assert pipeline.images_of(PRODUCTION) == {built.digest}
    printed = pipeline.fork.gitops("history", str(PRODUCTION))
    assert "rollback" in printed.lower()
    pipeline.fork.gitops("status")
    report.add("Delivery", f"- unheld, and promoted again by merge {commit[:7]}")
