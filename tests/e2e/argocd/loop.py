"""The settings of the closed loop, and what the steps of its story do with callers, store and jobs."""

import base64
import contextlib
import gzip
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from embedded.loop_traffic import Answered, Flowers, tell
from gitops.stores.copying import client
from modelformat.logged import FEEDBACK_SUFFIX, SUFFIX
from tests.e2e.argocd import prometheus, pushgateway
from tests.e2e.argocd.fork import ROOT
from tests.e2e.argocd.pipeline import NAMESPACE, Pipeline
from tests.e2e.argocd.places import Place
from tests.e2e.kube import Manifest
from tests.e2e.pods import Script

SHARED = "ml-pipeline"
ALERT = "ModelQualityBelowGate"
USUAL, DRY, AFTER = 400, 900, 300
"""Flowers of a usual summer, of a dry one, and of the dry one again after a version has learnt from it."""
SHARDS = 2
_LOG, _TABLES, _TRUTH = "predictions", "tables", "truth.csv"
_INPUT, _OUTPUT = "rows", "answers"
_READER, _WRITER, _CALLERS = "s3-analyst", "s3-batch", "iris-api-keys"
_MODEL = "models/iris"
_AT_ONCE = 25


class Loop(msgspec.Struct, frozen=True):
    """One service in production, the environment that feeds it, and its caller's key."""

    pipeline: Pipeline
    production: Place
    staging: Place
    key: str

    # --- settings by people ---

    def make_secrets(self) -> None:
        """Make the Secrets that bootstrap does not make: keys for the log, the truth, batch jobs and callers."""
        reader, writer, smoke = _store_keys(), _store_keys(), secrets.token_hex(20)
        callers = {"smoke": smoke, "keys": f"meadow:{self.key}\nsmoke:{smoke}"}
        wanted = (
            (SHARED, _READER, reader),
            (SHARED, _WRITER, writer),
            (self.production.namespace, _WRITER, writer),
            (self.production.namespace, _CALLERS, callers),
        )
        self.pipeline.kube.apply([_secret(*each) for each in wanted])

    def switch_on(self) -> str:
        """Commit all settings of the loop, and return the commit."""
        fork, place = self.pipeline.fork, self.production
        users = fork.read("charts/minio/values.yaml")["provisioning"]
        fork.edit("platform.yaml", lambda said: said.update(pushgateway=True))
        fork.edit("envs/platform/minio.yaml", lambda values: values.update(provisioning=_provisioned(users)))
        # The shortest value that the chart allows.
        fork.edit("envs/platform/observability.yaml", lambda said: said.update(thresholds={"quality": {"minutes": 1}}))
        # The story runs the commands one by one. A training that bumps would interfere.
        fork.edit("envs/platform/training.yaml", _without_bump)
        fork.edit(f"envs/{place.environment}/{place.service}/values.yaml", lambda values: values.update(_SERVED))
        (fork.folder / _MODEL / "training.yaml").write_text(yaml.safe_dump(_learning_from_its_log(place)))
        (fork.folder / _MODEL / "values.yaml").write_text(yaml.safe_dump(_measured(place)))
        return fork.commit("Learn whether answers of iris are right")

    def watch(self) -> None:
        """Run a Pushgateway and a Prometheus with the cluster's own rules, if the cluster cannot have their charts."""
        pipeline = self.pipeline
        image = pipeline.images.prometheus
        if pushgateway.APPLICATION in pipeline.without:
            assert image, "this cluster does not get a Pushgateway: make e2e-prometheus"
            pushgateway.start(pipeline.kube, image, pipeline.fork.read(pushgateway.VALUES))
        if "monitoring" in pipeline.without:
            assert image, "this cluster does not get kube-prometheus-stack: make e2e-prometheus"
            rules = prometheus.rules_with(pipeline.kube, ALERT)
            assert rules, f"the cluster has no rule {ALERT}"
            prometheus.stop(pipeline.kube)
            prometheus.start(pipeline.kube, image, rules)

    # --- callers ---

    def ask(
        self,
        rows: Sequence[Sequence[float] | Mapping[str, float]],
        truth: Sequence[str],
        *,
        told: bool = False,
        at_once: int = _AT_ONCE,
    ) -> list[Answered]:
        """Request predictions from a pod, and optionally send the truth to the service at once.

        Args:
            rows: Features, in the model's order or by name.
            truth: The class of each row.
            told: Whether the service gets the truth.
            at_once: Number of rows in each request.
        """
        firsts = range(0, len(rows), at_once)
        ids = [f"meadow-{secrets.token_hex(6)}" for _ in firsts]
        true = [list(truth[first : first + at_once]) for first in firsts]
        requests = [
            {"id": request_id, "rows": list(rows[first : first + at_once]), "truth": part if told else []}
            for request_id, first, part in zip(ids, firsts, true, strict=True)
        ]
        question = {"url": self.production.address, "key": self.key, "requests": requests}
        answers = self.pipeline.runner.ask(Script(f"ask-{secrets.token_hex(3)}", NAMESPACE, "ask.py", question))
        return [
            Answered(request_id, said["predictions"], said["probabilities"], part, said["version"])
            for request_id, said, part in zip(ids, answers, true, strict=True)
        ]

    def ask_of(self, flowers: Flowers, *, told: bool = False) -> list[Answered]:
        """Request predictions for some flowers."""
        return self.ask(flowers.rows.tolist(), [str(kind) for kind in flowers.species], told=told)

    # --- the store ---

    @contextlib.contextmanager
    def store(self) -> Iterator[Any]:
        """Yield a client of the store as its root user, for this machine."""
        kube = self.pipeline.kube
        secret = kube.get(SHARED, "secret", "minio-root")["data"]
        keys = [base64.b64decode(secret[name]).decode() for name in ("root-user", "root-password")]
        with kube.forwarded(SHARED, "service/minio", 9000) as url:
            yield client(url, *keys)

    def wait_logged(self, *, rows: int, truths: int) -> None:
        """Wait until the log in the store has a line for each row that was sent, and for each truth."""

        def complete() -> bool:
            with self.store() as store:
                return self._logged(store) == {SUFFIX: rows, FEEDBACK_SUFFIX: truths}

        place = self.production
        what = f"the log of {place} has {rows} rows and {truths} truths"
        self.pipeline.kube.wait(what, complete, seconds=90, namespace=place.namespace, names=(place.name,))

    def _logged(self, store: Any) -> dict[str, int]:
        found = {SUFFIX: 0, FEEDBACK_SUFFIX: 0}
        for key, body in _objects(store, _LOG, f"{self.production}/").items():
            kind = FEEDBACK_SUFFIX if key.endswith(FEEDBACK_SUFFIX) else SUFFIX
            lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
            found[kind] += sum(line["request_id"].startswith("meadow-") for line in lines)
        return found

    def put_truth(self, requests: Sequence[Answered]) -> None:
        """Write a table with the truth of some requests to the place where the jobs read it."""
        with tempfile.TemporaryDirectory() as folder, self.store() as store:
            file = Path(folder) / _TRUTH
            tell(file, requests)
            store.put_object(Bucket=_TABLES, Key=_TRUTH, Body=file.read_bytes())

    def put_rows(self, files: Mapping[str, bytes]) -> None:
        """Write files to the place where the batch jobs read them."""
        with self.store() as store:
            for name, content in files.items():
                store.put_object(Bucket=_TABLES, Key=f"{_INPUT}/{name}", Body=content)

    def batch_answers(self) -> dict[str, bytes]:
        """Return the files that the batch jobs wrote, by name."""
        with self.store() as store:
            found = _objects(store, _TABLES, f"{_OUTPUT}/")
        return {key.removeprefix(f"{_OUTPUT}/"): body for key, body in found.items()}

    # --- jobs ---

    def outcomes_job(self) -> str:
        """Return the name of the CronJob that compares answers with the truth."""
        return f"training-iris-{self.production.service}-{self.production.environment}-outcomes"

    def wait_pushing(self) -> None:
        """Wait until that CronJob exists and pushes its results."""
        kube, name = self.pipeline.kube, self.outcomes_job()

        def pushing() -> bool:
            found = [job for job in kube.items(SHARED, "cronjobs") if job["metadata"]["name"] == name]
            return "--push=http://pushgateway.monitoring:9091" in json.dumps(found)

        kube.wait(f"CronJob {name} pushes", pushing, seconds=90, namespace=SHARED, names=("none",))

    def said_by(self, job: str) -> str:
        """Return the output of a Job's training, with spaces instead of line breaks."""
        return " ".join(self.pipeline.kube.run("logs", "-n", SHARED, f"job/{job}").split())

    def batch(self, job: str) -> list[dict[str, int]]:
        """Start the service's batch job by hand, and return the summary of each shard, in order."""
        kube, space = self.pipeline.kube, self.production.namespace
        kube.run_cronjob(space, f"{self.production.name}-batch", job, seconds=240)
        pods = kube.items(space, "pods", {"batch.kubernetes.io/job-name": job})
        index = "batch.kubernetes.io/job-completion-index"
        said = {pod["metadata"]["labels"][index]: kube.logs(space, pod["metadata"]["name"]) for pod in pods}
        return [_summary(text) for _, text in sorted(said.items())]


_SERVED: dict[str, Any] = {
    "apiKeys": {"existingSecret": _CALLERS},
    "predictionLog": {"enabled": True, "sample": 1, "feedback": True, "fileSeconds": 2},
    "batch": {
        "enabled": True,
        "suspend": True,
        "input": f"s3://{_TABLES}/{_INPUT}/**/*.parquet",
        "output": f"s3://{_TABLES}/{_OUTPUT}",
        "shards": SHARDS,
        "s3": {"existingSecret": _WRITER},
        "resources": {"requests": {"cpu": "50m"}},
    },
}


def _provisioned(chart: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chart's buckets and users, and a bucket for tables with the users that read and write it."""
    more = [
        {"name": "analyst", "bucket": _LOG, "access": "readOnly", "alsoReads": [_TABLES], "existingSecret": _READER},
        {"name": "batch", "bucket": _TABLES, "access": "readWrite", "existingSecret": _WRITER},
    ]
    return {"buckets": [*chart["buckets"], _TABLES], "users": [*chart["users"], *more]}


def _without_bump(values: dict[str, Any]) -> None:
    values.pop("bump", None)


def _learning_from_its_log(place: Place) -> dict[str, Any]:
    """Return upstream's training.yaml with the log and its truth as data, and the table until there is a log."""
    said: dict[str, Any] = yaml.safe_load((ROOT / _MODEL / "training.yaml").read_text())
    said["outcomes"] = {"truth": [f"s3://{_TABLES}/{_TRUTH}"], "start": said["data"], "rows": USUAL}
    said |= {"data": f"s3://{_LOG}/{place}", "model": "random-forest"}
    said.pop("params")
    # In a dry summer, a longer petal has another meaning.
    said["gate"].pop("directional")
    # The alert must be the only reason, so the changed settings must not count as one.
    said["due"] = {"days": None, "rows": None, "settings": False, "alerts": [ALERT]}
    return said


def _measured(place: Place) -> dict[str, Any]:
    """Return values of the model's jobs: one compares answers with the truth, the other checks for a reason first."""
    service = {"service": place.service, "environment": place.environment, "truth": [f"s3://{_TABLES}/{_TRUTH}"]}
    return {
        "data": {"existingSecret": _READER},
        "due": {"enabled": True, "labels": {"namespace": place.namespace}},
        "outcomes": {"existingSecret": _READER, "suspend": True, "services": [service]},
    }


def _store_keys() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": secrets.token_hex(10), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}


def _secret(namespace: str, name: str, content: dict[str, str]) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}


def _objects(store: Any, bucket: str, prefix: str) -> dict[str, bytes]:
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key: store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def _summary(log: str) -> dict[str, int]:
    """Return the numbers in the last line of `serving score`."""
    line = next(line for line in reversed(log.splitlines()) if '"scored"' in line)
    found: dict[str, int] = json.loads(line)
    return found
