"""A second version reaches production through staging and as a shadow, and is reverted, under constant load."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.e2e.argocd import gitea
from tests.e2e.argocd.pipeline import NAMESPACE, Pipeline
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.report import Report

KEY_SECRET = "gitops-deploy-key"


@pytest.fixture(scope="module")
def promoted() -> dict[str, str]:
    """Return the dictionary that gets the commit of the promotion."""
    return {}


def test_a_second_version_is_trained_bumped_in_the_cluster_and_serves_only_in_staging(
    pipeline: Pipeline, report: Report
) -> None:
    first = pipeline.pins(STAGING)["model"]["version"]
    deploy_key(pipeline)
    pipeline.fork.edit("models/iris/training.yaml", lambda said: said.update(seed=7))
    pipeline.fork.edit("envs/platform/training.yaml", lambda values: _bumping(pipeline, values))
    commit = pipeline.fork.commit("Train with another seed, and release what passes to staging")
    pipeline.look_at_git()
    pipeline.wait_settled("training-iris", commit)
    with pipeline.load(PRODUCTION) as results:
        pipeline.kube.run_cronjob("ml-pipeline", "training-iris", "second-training", seconds=300)
        pipeline.follow(pipeline.update(), STAGING)
    second = pipeline.pins(STAGING)["model"]["version"]
    assert second != first
    author, subject = pipeline.fork.git("log", "-1", "--format=%an|%s", "--", STAGING.release).split("|")
    assert (author, subject) == ("gitops", f"bump({STAGING}): iris-classifier {second}")
    assert pipeline.predict(STAGING).version == second
    assert set(results[0].versions) == {first}, "production answered with a version that was not promoted"
    report.add("Requests", f"- training, and a release to staging, production watched: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def deploy_key(pipeline: Pipeline) -> None:
    """Let the last step of the training Job push: with a deploy key, and the forge's host key."""
    key = Ed25519PrivateKey.generate()
    encoding, form = serialization.Encoding, serialization.PublicFormat.OpenSSH
    pipeline.forge.add_deploy_key(key.public_key().public_bytes(encoding.OpenSSH, form).decode())
    private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    metadata = {"name": KEY_SECRET, "namespace": "ml-pipeline"}
    data = {"ssh-privatekey": private.decode(), "known_hosts": gitea.host_key(pipeline.kube, NAMESPACE)}
    pipeline.kube.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}])


def _bumping(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """Configure the last step of a training, which commits the new version's pins."""
    image = pipeline.images.gitops
    assert image is not None
    values["bump"] = {
        "enabled": True, "image": image.values,
        "repository": gitea.ssh_address(NAMESPACE),
        "existingSecret": KEY_SECRET,
    }  # fmt: skip
    chart = pipeline.fork.read("charts/training/values.yaml")
    to_git = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}],
        "ports": [{"port": gitea.SSH_PORT}],
    }
    values["networkPolicy"] = {"egress": [*chart["networkPolicy"]["egress"], to_git]}


def test_stagings_version_answers_productions_requests_as_a_shadow(pipeline: Pipeline, report: Report) -> None:
    """Released by a separate pull request. Callers of production get answers only from the promoted version."""
    first, second = (pipeline.pins(place)["model"]["version"] for place in (PRODUCTION, STAGING))
    with pipeline.load(PRODUCTION) as results:
        pipeline.fork.gitops("shadow", str(PRODUCTION), f"--model={second}", "--sample=1", "--pr")
        pull = pipeline.forge.pull(f"shadow/{PRODUCTION}")
        pipeline.follow(pipeline.merge_pull(pull), PRODUCTION)
        seen = compared(pipeline, second, more_than=0)
        compared(pipeline, second, more_than=seen)
    assert pipeline.pins(PRODUCTION)["shadow"]["version"] == second
    said = json.loads(pipeline.fork.gitops("status", "--json"))["services"]
    (live,) = [each["live"] for each in said if each["application"] == PRODUCTION.application]
    assert (live["shadow"]["version"], live["shadow"]["status"]) == (second, "ready")
    assert set(results[0].versions) == {first}
    report.add("Requests", f"- a shadow in production: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def compared(pipeline: Pipeline, version: str, *, more_than: int) -> int:
    """Wait until a shadow of production was compared over more rows, and return their number."""
    return pipeline.kube.wait(
        f"the shadow's rows, more than {more_than}",
        lambda: rows if (rows := pipeline.compared(PRODUCTION, version)) > more_than else None,
        seconds=60,
        namespace=PRODUCTION.namespace,
    )


def test_the_promotion_serves_the_same_digest_without_a_failed_request(
    pipeline: Pipeline, report: Report, promoted: dict[str, str]
) -> None:
    before = pipeline.pins(PRODUCTION)["model"]["version"]
    with pipeline.load(PRODUCTION) as results:
        promoted["commit"] = pipeline.promote(PRODUCTION)
        pipeline.follow(promoted["commit"], PRODUCTION)
    answer = pipeline.predict(PRODUCTION)
    pins = pipeline.pins(STAGING)["model"]
    assert (answer.version, answer.digest) == (pins["version"], pins["digest"])
    assert "## Shadow" in pipeline.proposal(PRODUCTION).body
    assert "shadow" not in pipeline.pins(PRODUCTION), "what answers is no longer a shadow"
    assert set(results[0].versions) == {before, pins["version"]}
    report.add("Requests", f"- promotion: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def test_a_revert_brings_the_earlier_version_back(pipeline: Pipeline, report: Report, promoted: dict[str, str]) -> None:
    with pipeline.load(PRODUCTION) as results:
        pipeline.fork.git("revert", "--no-edit", promoted["commit"])
        pipeline.fork.push()
        # The revert also brings the shadow back.
        pipeline.fork.gitops("shadow", str(PRODUCTION), "--off")
        pipeline.follow(pipeline.update(), PRODUCTION)
    assert pipeline.predict(PRODUCTION).version == pipeline.pins(PRODUCTION)["model"]["version"]
    assert pipeline.pins(PRODUCTION)["model"]["version"] != pipeline.pins(STAGING)["model"]["version"]
    report.add("Requests", f"- revert: {results[0]}")
    assert results[0].dropped == 0, results[0].errors
