"""The delivery of a change of code: built, pushed by digest, pinned in staging, promoted, served, rolled back and held.

The workflows run unchanged. The commands of a person are recorded at a terminal. `make recording` makes the picture at
the beginning of the README from this recording.
"""

import json
import time

import httpx
import msgspec
import pytest

from tests.e2e.argocd import gitea, webhook, workflows
from tests.e2e.argocd.pipeline import Pipeline, revisions
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.argocd.recording import Recording
from tests.e2e.images import Image, remember_serving
from tests.e2e.kube import CommandError
from tests.e2e.report import Report
from tests.e2e.story import REPORTS


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Return the recording of the session at a terminal."""
    return Recording(REPORTS / "delivery.cast")


@pytest.fixture(scope="module")
def built(pipeline: Pipeline, report: Report) -> Image:
    """Return the image of a commit that changes the service's code, delivered by the workflow for such a push."""
    workflows.delivered_before(pipeline)
    module = pipeline.fork.folder / "services" / "serving" / "src" / "serving" / "__init__.py"
    module.write_text(module.read_text() + f"\n# {pipeline.chart}\n")
    pipeline.fork.commit("Change the service")
    done = workflows.run(pipeline, report, ".github/workflows/deliver.yml", "push")
    signed = {title for title, text in done.printed.items() if " / images " in title and "\nsigned " in text}
    assert signed == {
        "deliver / images (serving)",
        "deliver / images (serving-sklearn)",
        "deliver / images (serving-batch)",
    }, "the workflow built other images than those of serving"
    pipeline.update()
    image = msgspec.convert(pipeline.pins(STAGING)["image"], Image)
    remember_serving(pipeline.fork.folder, image)
    return image


def test_a_change_of_code_reaches_staging(
    pipeline: Pipeline, report: Report, recording: Recording, request: pytest.FixtureRequest
) -> None:
    before = pipeline.pins(STAGING)
    recording.say("what runs where")
    pipeline.fork.recorded(recording, "gitops status")
    pushed = time.monotonic()
    built: Image = request.getfixturevalue("built")
    pinned = time.monotonic() - pushed
    assert built.digest != before["image"]["digest"]
    recording.say("a change of code was pushed: its workflow tested, built, signed and pinned it")
    pipeline.fork.recorded(recording, f"gitops history {STAGING}")
    commit = pipeline.fork.git("rev-parse", "HEAD")
    pipeline.follow(commit, STAGING)
    assert pipeline.images_of(STAGING) == {built.digest}
    assert pipeline.pins(STAGING)["model"] == before["model"], "nothing else moved"
    served = time.monotonic() - pushed
    report.add(
        "Delivery",
        f"- staging runs {built.digest[:19]} by commit {commit[:7]}: pinned {pinned:.0f} s after the push, and served "
        f"after {served:.0f} s",
    )
    report.add(workflows.HEADING, workflows.NOT_RUN)


def test_the_forge_is_set_up_by_the_projects_own_commands(pipeline: Pipeline, report: Report) -> None:
    with pytest.raises(CommandError, match="gitops branch-protection writes it"):
        pipeline.fork.gitops("doctor")
    said = pipeline.fork.gitops("branch-protection", f"--pusher={gitea.ROBOT}")
    webhook.connect(pipeline.kube, pipeline.forge)
    assert "A webhook reports pushes to Argo CD" in pipeline.fork.gitops("doctor")
    report.add("Delivery", *(f"- {line}" for line in said.splitlines()))


def test_nobody_bypasses_review(pipeline: Pipeline) -> None:
    fork = pipeline.fork
    assert pipeline.forge.try_push(fork, "README.md", as_reviewer=True) == "refused"
    # The machine's token is refused too, except for pins that machines move.
    assert pipeline.forge.try_push(fork, PRODUCTION.release) == "refused"
    assert webhook.forged(pipeline.kube) == httpx.codes.BAD_REQUEST


def test_a_merged_promotion_brings_the_same_digest_to_production(
    pipeline: Pipeline, report: Report, built: Image, recording: Recording
) -> None:
    fork, forge = pipeline.fork, pipeline.forge
    with pipeline.load(PRODUCTION) as results:
        recording.say("Argo CD has synced it, and its smoke test passed: a workflow proposes it for production")
        workflows.run(pipeline, report, ".gitea/workflows/promote.yml", "workflow_dispatch")
        pull = pipeline.proposal(PRODUCTION)
        assert built.digest in pull.body
        refused = forge.try_merge(pull)
        assert refused, "merged without approval and checks"
        workflows.judged(pipeline, report, pull)
        assert forge.try_merge(pull), "merged without approval"
        forge.approve(pull)
        recording.say("its checks have passed, and a person has approved it")
        fork.recorded(recording, "gitops pulls")
        merged = time.monotonic()
        forge.merge(pull)
        commit = pipeline.update()
        # The forge's webhook makes Argo CD read git.
        pipeline.wait_application(PRODUCTION.application, lambda app: commit in revisions(app), 40)
        noticed = time.monotonic() - merged
        pipeline.wait_settled(PRODUCTION.application, commit)
    fork.recorded(recording, "gitops status")
    assert pipeline.images_of(PRODUCTION) == {built.digest}
    assert pipeline.pins(PRODUCTION) == pipeline.pins(STAGING)
    report.add(
        "Delivery",
        f"- the forge refused to merge at first: {json.loads(refused)['message']}",
        f"- production runs {built.digest[:19]} by pull request {pull.number}, commit {commit[:7]}; Argo CD saw it "
        f"{noticed:.0f} s after the merge, by webhook",
    )
    report.add("Requests", f"- promotion of an image: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_rollback_is_served_and_held(pipeline: Pipeline, report: Report, built: Image, recording: Recording) -> None:
    with pipeline.load(PRODUCTION) as results:
        recording.say("and back, with a hold, so that nothing undoes it")
        pipeline.fork.recorded(recording, f"gitops rollback {PRODUCTION} --reason 'it answers slowly' --pr")
        pull = pipeline.forge.pull(f"rollback/{PRODUCTION}")
        pipeline.check(pull)
        pipeline.forge.approve(pull)
        pipeline.forge.merge(pull)
        commit = pipeline.update()
        pipeline.follow(commit, PRODUCTION)
    assert built.digest not in pipeline.images_of(PRODUCTION)
    with pytest.raises(CommandError, match="it answers slowly"):
        pipeline.fork.gitops("promote", str(PRODUCTION))
    with pytest.raises(CommandError, match="gitops promote"):
        pipeline.fork.gitops("bump", str(PRODUCTION), f"--image={built.pin}")
    pipeline.fork.recorded(recording, "gitops status")
    report.add(
        "Delivery", f"- rolled back by pull request {pull.number}, commit {commit[:7]}, and held: promote refuses"
    )
    report.add("Requests", f"- rollback: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def _proposed(pipeline: Pipeline, verb: str, *options: str) -> None:
    """Change production by a pull request of one of the commands, which people approve and merge."""
    pipeline.fork.gitops(verb, str(PRODUCTION), *options, "--pr")
    pull = pipeline.forge.pull(f"{verb}/{PRODUCTION}")
    pipeline.check(pull)
    pipeline.forge.approve(pull)
    pipeline.forge.merge(pull)
    pipeline.update()


def test_a_hold_closes_the_pull_request(pipeline: Pipeline, report: Report) -> None:
    fork = pipeline.fork
    _proposed(pipeline, "unhold")
    fork.gitops("promote", str(PRODUCTION))
    pull = pipeline.proposal(PRODUCTION)
    assert pull.state == "open"
    _proposed(pipeline, "hold", "--reason=looked at first")
    with pytest.raises(CommandError, match="looked at first"):
        fork.gitops("promote", str(PRODUCTION))
    closed = pipeline.proposal(PRODUCTION)
    assert (closed.number, closed.state) == (pull.number, "closed")
    assert any("looked at first" in said for said in pipeline.forge.comments(closed))
    _proposed(pipeline, "unhold")
    report.add("Delivery", f"- a hold closed pull request {pull.number}, and said why")


def test_an_unheld_environment_is_promoted_again(pipeline: Pipeline, report: Report, built: Image) -> None:
    pipeline.fork.gitops("promote", str(PRODUCTION))
    pipeline.check(pipeline.proposal(PRODUCTION))
    commit = pipeline.merge(PRODUCTION)
    pipeline.follow(commit, PRODUCTION)
    assert pipeline.images_of(PRODUCTION) == {built.digest}
    printed = pipeline.fork.gitops("history", str(PRODUCTION))
    assert "rollback" in printed.lower()
    pipeline.fork.gitops("status")
    # The next steps change charts and settings, as their owner would.
    pipeline.forge.unprotect("main")
    report.add("Delivery", f"- unheld, and promoted again by commit {commit[:7]}")
