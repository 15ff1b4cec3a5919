"""`gitops move-store` moves the pipeline from MinIO to SeaweedFS, trains there, and moves it back, under load."""

import base64
import hashlib
import time
from typing import Any

import pytest

from gitops.stores.copying import client
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.places import PRODUCTION, STAGING
from tests.e2e.kube import CommandError, Kube
from tests.e2e.report import Report

_NAMESPACE, _PORT = "ml-pipeline", 9000
_STORES = ("minio", "seaweedfs")
_BUCKETS = ("mlflow", "backups", "predictions")
_SECONDS = 300


def test_the_other_store_runs_in_addition_to_the_first(pipeline: Pipeline) -> None:
    pipeline.fork.edit("platform.yaml", lambda said: said.update(nextStore="seaweedfs"))
    commit = pipeline.fork.commit("Run SeaweedFS in addition to MinIO")
    pipeline.look_at_git()
    pipeline.wait_application("seaweedfs", lambda _: True, 90)
    pipeline.wait_settled("seaweedfs", commit, seconds=_SECONDS)


def test_the_pipeline_moves_while_production_answers(pipeline: Pipeline, report: Report) -> None:
    _moved(pipeline, report, *_STORES)


def test_a_model_is_trained_and_released_there(pipeline: Pipeline) -> None:
    before = pipeline.pins(STAGING)["model"]["version"]
    pipeline.kube.run_cronjob(_NAMESPACE, "training-iris", "in-the-other-store", seconds=_SECONDS)
    pipeline.fork.gitops("bump", str(STAGING), "--model=@candidate")
    pipeline.follow(pipeline.fork.git("rev-parse", "HEAD"), STAGING)
    assert pipeline.predict(STAGING).version == pipeline.pins(STAGING)["model"]["version"] != before
    former, there = (set(_digests(pipeline.kube, name)) for name in _STORES)
    assert there > former, "the model was written to the former store, or not at all"


def test_it_moves_back_with_all_objects_written_in_the_meantime(pipeline: Pipeline, report: Report) -> None:
    _moved(pipeline, report, *reversed(_STORES))


def test_without_a_next_store_only_one_runs_again(pipeline: Pipeline) -> None:
    pipeline.fork.edit("platform.yaml", lambda said: said.update(nextStore=""))
    commit = pipeline.fork.commit("Stay with MinIO")
    pipeline.look_at_git()
    pipeline.wait_settled("root", commit)
    pipeline.follow(commit, PRODUCTION)
    with pytest.raises(CommandError, match="does not run seaweedfs yet"):
        pipeline.fork.gitops("move-store", "seaweedfs")


def _moved(pipeline: Pipeline, report: Report, source: str, target: str) -> None:
    """Move under load. Every object has the same digest, new pods start from the target, and no request fails."""
    fork, before = pipeline.fork, pipeline.predict(PRODUCTION)
    pods, there = pipeline.ready_names(PRODUCTION), _digests(pipeline.kube, target)
    with pipeline.load(PRODUCTION) as results:
        began = time.monotonic()
        fork.gitops("move-store", target, seconds=_SECONDS)
        took = time.monotonic() - began
        # A repeated command does not move back: the commits that follow are those of the first run.
        fork.gitops("move-store", target)
        commit = pipeline.update()
        pipeline.look_at_git()
        for name in ("mlflow", "postgres", "training-iris"):
            pipeline.wait_settled(name, commit, seconds=_SECONDS)
        pipeline.follow(commit, STAGING, PRODUCTION, seconds=_SECONDS)
        fork.gitops("move-store", target, "--late", seconds=_SECONDS)
        pipeline.kube.wait(
            "the pods of the former store are gone",
            lambda: not pods & pipeline.ready_names(PRODUCTION),
            seconds=120,
            namespace=PRODUCTION.namespace,
        )
    settings = pipeline.kube.get(PRODUCTION.namespace, "configmap", PRODUCTION.name)["data"]
    assert f"//{target}." in settings["S3_ENDPOINT_URL"]
    after = pipeline.predict(PRODUCTION)
    assert (after.version, after.digest) == (before.version, before.digest)
    old, new = (_digests(pipeline.kube, name) for name in (source, target))
    assert {key: new.get(key) for key in old} == old, "an object is missing or another one"
    assert fork.read("platform.yaml")["store"] == target
    copied = old.keys() - there.keys()
    report.add(
        "Store",
        f"- {source} to {target}: {len(old)} objects with the same digest, {len(copied)} of them new, in {took:.0f} s",
    )
    report.add("Requests", f"- the store moved from {source} to {target}: {results[0]}")
    assert copied, "there was nothing to move"
    assert results[0].dropped == 0, results[0].errors


def _digests(kube: Kube, store: str) -> dict[str, str]:
    """Return the SHA-256 of every object in a store, computed from the objects themselves, as root."""
    secret = kube.get(_NAMESPACE, "secret", "minio-root")["data"]
    keys = [base64.b64decode(secret[name]).decode() for name in ("root-user", "root-password")]
    with kube.forwarded(_NAMESPACE, f"service/{store}", _PORT) as url:
        there = client(url, *keys)
        return {
            f"{bucket}/{item['Key']}": _sha256(there, bucket, item["Key"])
            for bucket in _BUCKETS
            for page in there.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for item in page.get("Contents", [])
        }


def _sha256(store: Any, bucket: str, key: str) -> str:
    return hashlib.sha256(store.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest()
