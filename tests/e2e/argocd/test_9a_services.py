"""Two separate services, a third environment, and a second cluster, all of it by configuration."""

import pytest

from tests.e2e.argocd.cluster import second_cluster
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.places import PENGUINS_PRODUCTION, PENGUINS_STAGING, PRODUCTION, STAGING, Place
from tests.e2e.images import Image, pushed_images
from tests.e2e.kube import CommandError
from tests.e2e.report import Report

QA = Place("qa", "iris")
FAR = Place("far", "iris")
SECOND = "second"
PENGUINS_MODEL = "penguins-classifier"


@pytest.fixture(scope="module")
def built(pipeline: Pipeline) -> Image:
    """Return the image that the delivery built, which both services run at first."""
    return pushed_images(pipeline.fork.folder).serving


def commits(pipeline: Pipeline) -> int:
    """Return the number of commits on the branch."""
    return int(pipeline.fork.git("rev-list", "--count", "origin/main"))


def test_a_second_service_is_one_command_and_one_commit(pipeline: Pipeline, report: Report) -> None:
    # Training's last step changes only services that are already released, so it may stay on.
    before = commits(pipeline)
    pipeline.fork.gitops("new", "service", "penguins", f"--model={PENGUINS_MODEL}", "--owner=@team-penguins")
    assert commits(pipeline) == before + 1
    pipeline.fork.gitops("check")
    commit = pipeline.fork.git("rev-parse", "HEAD")
    pipeline.look_at_git()
    pipeline.wait_settled("root", commit)
    assert pipeline.application(PENGUINS_STAGING.application) == {}, "nothing is released to it yet"
    report.add("Services", f"- penguins added by commit {commit[:7]}")


def test_it_is_released_and_promoted_in_addition_to_the_first(pipeline: Pipeline, report: Report) -> None:
    """Its table has text and missing values, which work through training, bump, promotion and rollback."""
    others = {place: pipeline.ready_names(place) for place in (STAGING, PRODUCTION)}
    with pipeline.load(PRODUCTION, rate=5) as results:
        pipeline.fork.program(["tools/first-release", "penguins"], seconds=800)
        pipeline.follow(pipeline.promote(PENGUINS_PRODUCTION), PENGUINS_PRODUCTION)
    for place in (PENGUINS_STAGING, PENGUINS_PRODUCTION):
        pins, answer = pipeline.pins(place)["model"], pipeline.predict(place)
        assert pins["name"] == PENGUINS_MODEL
        assert (answer.version, answer.digest) == (pins["version"], pins["digest"])
    assert pipeline.ready_names(STAGING) == others[STAGING]
    assert others[PRODUCTION] & pipeline.ready_names(PRODUCTION), "the first service was not touched"
    report.add("Requests", f"- iris while penguins came to production: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_services_are_bumped_together_and_promoted_separately(pipeline: Pipeline, built: Image) -> None:
    other = pipeline.images.serving
    assert other.digest != built.digest
    pipeline.fork.gitops("bump", "staging", f"--image={other.pin}")
    pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), STAGING, PENGUINS_STAGING)
    assert pipeline.images_of(STAGING) == pipeline.images_of(PENGUINS_STAGING) == {other.digest}
    pipeline.fork.gitops("promote")
    pipeline.follow(pipeline.merge(PENGUINS_PRODUCTION), PENGUINS_PRODUCTION)
    assert pipeline.images_of(PENGUINS_PRODUCTION) == {other.digest}
    assert pipeline.images_of(PRODUCTION) == {built.digest}, "nobody merged this one"


def test_one_is_rolled_back_and_held_while_the_other_is_promoted(
    pipeline: Pipeline, report: Report, built: Image
) -> None:
    with pipeline.load(PENGUINS_PRODUCTION, rate=5) as results:
        pipeline.fork.gitops("rollback", str(PENGUINS_PRODUCTION), "--reason=moulting")
        pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), PENGUINS_PRODUCTION)
        pipeline.fork.gitops("promote")
        with pytest.raises(CommandError, match="moulting"):
            pipeline.fork.gitops("promote", str(PENGUINS_PRODUCTION))
        pipeline.follow(pipeline.merge(PRODUCTION), PRODUCTION)
    assert pipeline.images_of(PRODUCTION) == {pipeline.images.serving.digest}
    assert pipeline.images_of(PENGUINS_PRODUCTION) == {built.digest}, "held at the version of the rollback"
    assert "moulting" in pipeline.fork.gitops("status")
    report.add("Services", "- penguins rolled back and held in production, iris promoted meanwhile")
    report.add("Requests", f"- penguins, rolled back while iris was promoted: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_broken_release_stops_only_its_own_service(pipeline: Pipeline, report: Report, built: Image) -> None:
    penguins = pipeline.ready_names(PENGUINS_PRODUCTION)
    (pipeline.fork.folder / PENGUINS_PRODUCTION.release).write_text("image: [of nobody\n")
    broken = pipeline.fork.commit("A file that nobody can read")
    pipeline.look_at_git()
    pipeline.kube.wait(
        "the broken file is noticed",
        lambda: pipeline.set_error(PENGUINS_PRODUCTION.application),
        seconds=120,
        namespace="argocd",
        names=("none",),
    )
    with pytest.raises(CommandError, match=PENGUINS_PRODUCTION.release):
        pipeline.fork.gitops("check")
    pipeline.fork.gitops("bump", str(STAGING), f"--image={built.pin}")
    pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), STAGING)
    pipeline.follow(pipeline.promote(PRODUCTION), PRODUCTION)
    assert pipeline.images_of(PRODUCTION) == {built.digest}
    assert penguins & pipeline.ready_names(PENGUINS_PRODUCTION)
    assert pipeline.predict(PENGUINS_PRODUCTION).version
    pipeline.fork.git("revert", "--no-edit", broken)
    pipeline.follow(pipeline.fork.push(), PENGUINS_PRODUCTION)
    pipeline.kube.wait(
        "the corrected file is read",
        lambda: not pipeline.set_error(PENGUINS_PRODUCTION.application),
        seconds=120,
        namespace="argocd",
        names=("none",),
    )
    report.add("Services", "- with one release.yaml broken in production, iris was delivered to both environments")


def test_a_third_environment_is_one_command_and_serves(pipeline: Pipeline, report: Report) -> None:
    before = commits(pipeline)
    pipeline.fork.gitops("new", "environment", QA.environment, "--from=staging")
    assert commits(pipeline) == before + 1
    pipeline.fork.gitops("check")
    options = [f"--without={name}" for name in pipeline.without]
    pipeline.fork.gitops("bootstrap", *options, seconds=400)
    pipeline.follow(pipeline.promote(QA), QA)
    answer, pins = pipeline.predict(QA), pipeline.pins(STAGING)
    assert pipeline.pins(QA) == pins
    assert (answer.version, answer.digest) == (pins["model"]["version"], pins["model"]["digest"])
    assert pipeline.application(Place(QA.environment, "penguins").application) == {}, "nobody promoted it there"
    report.add("Services", f"- environment {QA.environment}: serves version {answer.version}")


def test_an_environment_in_another_cluster(pipeline: Pipeline, report: Report) -> None:
    """Tests Argo CD's side: objects go to the other address, with addresses that pods there can reach."""
    fork = pipeline.fork
    server = second_cluster(pipeline.kube, SECOND)
    fork.edit("platform.yaml", lambda values: values.update(clusters={SECOND: _cluster(server, "minio.ml-pipeline")}))
    fork.commit("A second cluster, by addresses of the first")
    with pytest.raises(CommandError, match=r"minio\.ml-pipeline"):
        fork.gitops("new", "environment", FAR.environment, "--from=staging", f"--cluster={SECOND}")
    fork.edit("platform.yaml", lambda values: values.update(clusters={SECOND: _cluster(server, "far.example.com")}))
    fork.commit("Addresses that are reached from there")
    fork.gitops("new", "environment", FAR.environment, "--from=staging", f"--cluster={SECOND}")
    options = [f"--without={name}" for name in pipeline.without]
    fork.gitops("bootstrap", *_contexts(pipeline), *options, seconds=400)
    pipeline.promote(FAR)
    pipeline.look_at_git()
    app = pipeline.wait_application(FAR.application, lambda _: True, 90)
    assert app["spec"]["destination"] == {"server": server, "namespace": FAR.namespace}
    found = pipeline.kube.wait(
        "its objects are there", lambda: pipeline.serving_pods(FAR), seconds=120, namespace=FAR.namespace
    )
    labels = {"app.kubernetes.io/instance": FAR.name}
    settings = pipeline.kube.items(FAR.namespace, "configmaps", labels)[0]["data"]
    assert settings["S3_ENDPOINT_URL"] == "http://far.example.com:9000"
    report.add("Services", f"- environment {FAR.environment}: {len(found)} pods by way of {server}")


def _contexts(pipeline: Pipeline) -> list[str]:
    """Return the option that tells gitops how to reach the second cluster."""
    return [f"--context-of={SECOND}={pipeline.kube.run('config', 'current-context').strip()}"]


def _cluster(server: str, host: str) -> dict[str, str]:
    return {"server": server, "s3": f"http://{host}:9000", "mlflow": f"http://{host}:5000"}


def test_a_removal_removes_from_git_and_cluster(pipeline: Pipeline, report: Report) -> None:
    fork = pipeline.fork
    for place in (FAR, QA):
        before = commits(pipeline)
        command = ["remove", "environment", place.environment, *_contexts(pipeline)]
        assert place.namespace in fork.gitops(*command)
        assert commits(pipeline) == before, "without --yes it only says what would go"
        fork.gitops(*command, "--yes", seconds=400)
        assert pipeline.application(place.application) == {}
        assert not pipeline.serving_pods(place)
    fork.gitops("check")
    assert pipeline.predict(PRODUCTION).version
    report.add("Services", f"- environments {QA.environment} and {FAR.environment} removed again")
