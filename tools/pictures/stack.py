"""Run the pipeline as processes on this machine for a while, and collect the output of its commands and servers."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml
from mlflow import MlflowClient
from msgspec import Struct

from embedded.processes import LOOPBACK, NOBODY, Server, free_port, program
from embedded.servers import serving
from gitops.pins.release import Image, Model, Notes, Release, Shadow, written
from tests.integration.stores import BUCKET, s3_server
from tests.observability.content import RULES, Query, dashboard
from tools.pictures.charts import Line, Panel
from training.data import load_dataset
from training.model_folder import load_settings

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "charts" / "observability" / "dashboards" / "serving.json"
# The titles of the panels for which this stack has data.
_PANELS = ("Requests by status", "Latency", "Rows by version", "Shadow: disagreement")
_MODEL_DIR = ROOT / "models" / "iris"
# Requests in each second: the mean, the amplitude, and the period in seconds.
_RATE, _SWING, _PERIOD = 12.0, 8.0, 90.0
_WRONG_EVERY = 25
# The metrics that `gitops bump` copies.
_METRICS = ("accuracy", "f1_macro", "log_loss")
_WINDOW = "30s"
# A busy machine needs longer.
_READY_SECONDS = 600.0
_STEP_SECONDS = 5
# The same in both environments, so that the pictures show no change of the image.
_IMAGE = Image(repository="ghcr.io/OWNER/NAME/serving", tag="dev", digest="sha256:" + "0" * 64)


class Seen(Struct, frozen=True):
    """The content of the pictures: the panels, and a model card and a promotion's body in Markdown."""

    panels: Sequence[Panel]
    card: str
    body: str


class Trained(Struct, frozen=True):
    """A registered version, and its metrics on held-out data."""

    model: Model
    metrics: dict[str, float]


def observed(folder: Path, seconds: float) -> Seen:
    """Run the stack in an empty folder, send requests for some seconds, and return the results."""
    with contextlib.ExitStack() as stack:
        server, store = s3_server(folder)
        _started(stack, server)
        store.client(store.writer).create_bucket(Bucket=BUCKET)
        access = store.environment(store.writer)
        mlflow = f"sqlite:///{folder / 'mlflow.db'}"
        # The client in this process uses these to read and write artifacts.
        os.environ.update({**access, "MLFLOW_TRACKING_URI": mlflow})
        MlflowClient(mlflow).create_experiment(_settings().experiment, f"s3://{BUCKET}")
        first, second = _trained("logistic-regression", mlflow), _trained("random-forest", mlflow)
        repository = _repository(folder, first, second)
        pinned = {
            **access,
            "S3_ENDPOINT_URL": store.url,
            # The model is pinned, so the service needs no registry.
            "MLFLOW_TRACKING_URI": NOBODY,
            "MODEL_NAME": first.model.name,
            **{f"MODEL_{name}": value for name, value in _pins(first.model).items()},
            **{f"SHADOW_{name}": value for name, value in _pins(second.model).items()},
            "SHADOW_SAMPLE": "1",
        }
        api = serving(folder, pinned)
        _started(stack, api)
        prometheus = _prometheus(folder, httpx.URL(api.url).netloc.decode())
        _started(stack, prometheus)
        began = time.time()
        _ask(api.url, seconds)
        return Seen(
            panels=list(_panels(prometheus.url, began, time.time())),
            card=_card(mlflow, second.model),
            body=_body(repository, prometheus.url),
        )


def _started(stack: contextlib.ExitStack, server: Server) -> None:
    stack.callback(server.kill)
    server.start()
    server.wait_ready(_READY_SECONDS)


def _pins(model: Model) -> dict[str, str]:
    return {"VERSION": model.version, "RELEASE": str(model.release), "DIGEST": model.digest, "URI": model.uri}


def _trained(estimator: str, mlflow: str) -> Trained:
    command = [program("training"), "run", "--model-dir", str(_MODEL_DIR), "--model", estimator, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    said, client = json.loads(done.stdout), MlflowClient(mlflow)
    version = client.get_model_version(_settings().name, said["version"])
    model = Model(
        name=version.name,
        version=str(version.version),
        release=version.tags["release"],
        digest=version.tags["digest"],
        uri=client.get_model_version_download_uri(version.name, version.version),
    )
    return Trained(model, {name: said["metrics"][name] for name in _METRICS})


def _settings() -> Any:
    return load_settings({}, _MODEL_DIR)


def _repository(folder: Path, first: Trained, second: Trained) -> Path:
    """Return a clone: production runs the first version with the second as its shadow, and staging the second."""
    clone, bare = folder / "clone", folder / "origin.git"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
    _git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    _git(clone, "init", "--quiet", "--initial-branch", "main")
    _git(clone, "remote", "add", "origin", str(bare))
    chart = yaml.safe_load((ROOT / "charts/model-serving/Chart.yaml").read_text(encoding="utf-8"))["version"]
    tried = second.model
    shadow = Shadow(version=tried.version, release=tried.release, digest=tried.digest, uri=tried.uri, sample=1.0)
    for environment, trained, beside, subject in (
        ("staging", second, None, "bump(staging/iris): iris-classifier 2"),
        ("production", first, shadow, "shadow(production/iris): iris-classifier 2"),
    ):
        notes = Notes(chart=chart, metrics=trained.metrics)
        release = Release(release=notes, image=_IMAGE, model=trained.model, shadow=beside)
        file = clone / "envs" / environment / "iris" / "release.yaml"
        file.write_text(written(None, release, environment), encoding="utf-8")
        _git(clone, "add", "--all")
        _git(clone, "commit", "--quiet", "--message", subject)
    _git(clone, "push", "--quiet", "--set-upstream", "origin", "main")
    return clone


def _git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=gitops", "-c", "user.email=gitops@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def _prometheus(folder: Path, target: str) -> Server:
    labels = {"namespace": "ml-pipeline-production", "pod": "iris-0"}
    configuration = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "5s"},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [{"job_name": "iris", "static_configs": [{"targets": [target], "labels": labels}]}],
    }
    file = folder / "prometheus.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    port = free_port()
    return Server(
        "Prometheus",
        [
            str(ROOT / ".cache/tools/bin/prometheus"), f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={LOOPBACK}:{port}",
        ],
        url=f"http://{LOOPBACK}:{port}", ready_path="/-/ready", log=folder / "prometheus.log",
    )  # fmt: skip


def _ask(url: str, seconds: float) -> None:
    """Send rows of the training table, shifted a little, at a rate that swings; some requests are invalid."""
    settings = _settings()
    rows = load_dataset(settings.data, settings.target, settings.task, settings.csv, settings.columns).rows
    numbers = np.random.default_rng(7)
    began = time.monotonic()
    with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as client:
        number = 0
        while (elapsed := time.monotonic() - began) < seconds:
            row: list[Any] = (rows[numbers.integers(len(rows))] + numbers.normal(0, 0.15, rows.shape[1])).tolist()
            number += 1
            client.post("/predict", json={"features": row if number % _WRONG_EVERY else row[1:]})
            rate = _RATE + _SWING * math.sin(2 * math.pi * elapsed / _PERIOD)
            threading.Event().wait(numbers.exponential(1 / rate))


def _panels(prometheus: str, began: float, ended: float) -> Iterator[Panel]:
    by_title = {panel["title"]: panel for panel in dashboard(DASHBOARD)["panels"]}
    with httpx.Client(base_url=prometheus, trust_env=False, timeout=30.0) as client:
        for title in _PANELS:
            panel = by_title[title]
            lines = [line for target in panel["targets"] for line in _lines(client, target, began, ended)]
            yield Panel(title, panel["fieldConfig"]["defaults"].get("unit", ""), lines)


def _lines(client: httpx.Client, target: Mapping[str, Any], began: float, ended: float) -> Iterator[Line]:
    expr = Query("", target["expr"]).expr(__rate_interval=_WINDOW)
    # Before a window is full, a rate covers less time than it claims.
    moments = {"start": began + 30, "end": ended, "step": _STEP_SECONDS}
    answer = client.get("/api/v1/query_range", params={"query": expr, **moments}).raise_for_status().json()
    for series in answer["data"]["result"]:
        name = target["legendFormat"]
        for label, value in series["metric"].items():
            name = name.replace(f"{{{{{label}}}}}", value)
        points = [(float(moment), float(value)) for moment, value in series["values"] if value != "NaN"]
        yield Line(name, [moment for moment, _ in points], [value for _, value in points])


def _card(mlflow: str, model: Model) -> str:
    client = MlflowClient(mlflow)
    run = str(client.get_model_version(model.name, model.version).run_id)
    return Path(client.download_artifacts(run, "card.md")).read_text(encoding="utf-8")


def _body(repository: Path, prometheus: str) -> str:
    command = [program("gitops"), "promote", "production/iris", "--dry-run", "--json", "--min-age", "0"]
    environment = {**os.environ, "KUBECONFIG": str(repository / "no-cluster")}
    done = subprocess.run(
        [*command, "--prometheus-url", prometheus], cwd=repository, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"gitops promote failed: {done.stderr}")
    (outcome,) = json.loads(done.stdout)
    return str(outcome["body"])
