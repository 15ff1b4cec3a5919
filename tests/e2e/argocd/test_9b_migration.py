"""A fork of version 0.1, where one file pins a whole environment, is migrated to services under load."""

import pytest

from tests.e2e.argocd.old_layout import run_old_layout, write_old_layout
from tests.e2e.argocd.pipeline import Pipeline, settled
from tests.e2e.argocd.places import PRODUCTION, STAGING, Place
from tests.e2e.report import Report

LEGACY = "serving"
MOVED = [Place(place.environment, place.service, legacy=LEGACY) for place in (STAGING, PRODUCTION)]


@pytest.fixture(scope="module")
def upstream() -> dict[str, str]:
    """Return the dictionary that gets the commit with the new layout, which a person merges."""
    return {}


def test_a_fork_with_the_old_layout_runs(pipeline: Pipeline, upstream: dict[str, str]) -> None:
    upstream["commit"] = pipeline.fork.git("rev-parse", "HEAD")
    write_old_layout(pipeline, [STAGING, PRODUCTION])
    commit = pipeline.fork.commit("Version 0.1")
    run_old_layout(pipeline, [STAGING, PRODUCTION])
    pipeline.look_at_git()
    for place in MOVED:
        pipeline.wait_application(place.name, lambda _: True, 120)
        pipeline.wait_settled(place.name, commit)
        assert pipeline.predict(place).version
    assert pipeline.application(PRODUCTION.application) == {}


def test_it_is_migrated_without_a_failed_request(pipeline: Pipeline, report: Report, upstream: dict[str, str]) -> None:
    fork, production = pipeline.fork, MOVED[1]
    before = _uids(pipeline, production)
    pods = pipeline.ready_names(production)
    version = pipeline.predict(production).version
    with pipeline.load(production) as results:
        # The effect of merging upstream's next version.
        fork.git("checkout", upstream["commit"], "--", "apps", "argocd/patches", "argocd/root.yaml", "envs/values.yaml")
        first = fork.git("rev-list", "--max-parents=0", "HEAD")
        fork.git("checkout", first, "--", "platform.yaml", "argocd/install/kustomization.yaml")
        said = fork.gitops("migrate")
        # Only files that a person has changed need a person, and nobody has changed any.
        assert [line for line in said.splitlines() if line.startswith("by hand: ")] == []
        fork.gitops("check")
        commit = fork.commit("Migrate to services")
        options = [f"--without={name}" for name in pipeline.without]
        fork.gitops("bootstrap", *options, seconds=600)
        pipeline.follow(commit, *MOVED)
    assert _uids(pipeline, production) == before, "the same objects stay"
    assert pods <= pipeline.ready_names(production), "no pod was replaced"
    assert pipeline.application(production.name) == {}
    assert pipeline.predict(production).version == version
    assert [app["metadata"]["name"] for app in pipeline.applications() if not settled(app)] == []
    report.add("Requests", f"- migration to services: {results[0]}")
    report.add("Migration", f"- {len(before)} objects kept, pods undisturbed")
    assert results[0].dropped == 0, results[0].errors


def test_a_migrated_service_is_delivered_like_any_other(pipeline: Pipeline) -> None:
    staging = MOVED[0]
    pipeline.fork.gitops("bump", str(staging), f"--image={pipeline.images.serving.pin}")
    pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), staging)
    assert pipeline.images_of(staging) == {pipeline.images.serving.digest}


def _uids(pipeline: Pipeline, place: Place) -> dict[str, str]:
    kinds = ("deployments", "services", "serviceaccounts", "horizontalpodautoscalers", "networkpolicies")
    found = [entry for kind in kinds for entry in pipeline.kube.items(place.namespace, kind)]
    return {f"{entry['kind']}/{entry['metadata']['name']}": entry["metadata"]["uid"] for entry in found}
