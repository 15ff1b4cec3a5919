"""The closed loop on one machine: predict, log, get the truth late, detect a model's decline, train it again.

Everything except the report is in a temporary folder, which is removed afterwards.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from rich.console import Console
from ruamel.yaml import YAML

from embedded.demo import ALIAS, StepFailedError, promote, step, trained_by, training, wait_for_version
from embedded.loop_report import Act, Report, page
from embedded.loop_servers import Store, prometheus, pushgateway, store
from embedded.loop_traffic import Answered, Flowers, Meadow, ask, tell
from embedded.processes import LOOPBACK, Server, free_port
from embedded.servers import mlflow_server, serving

ENVIRONMENT, BUCKET = "demo", "predictions"
LOG = f"s3://{BUCKET}"
# In the order of trust: the truth, then the distribution of the requests.
ALERTS = ("ModelQualityBelowGate", "ModelInputDrift")
_USUAL, _DRY, _AFTER = 400, 900, 300
_SECONDS = 120.0
_T = TypeVar("_T")


class _Servers(msgspec.Struct, frozen=True):
    """The servers, and where training finds the log and the truth."""

    mlflow: Server
    store: Store
    gateway: Server
    prometheus: Server
    api_port: int
    truth: Path
    service: str

    @property
    def log(self) -> str:
        """The address of the service's prediction log."""
        return f"{LOG}/{ENVIRONMENT}/{self.service}"

    def training(self, *arguments: str, ends: Sequence[int] = (0,)) -> bytes:
        """Run the `training` command, and return what it wrote to standard output.

        Raises:
            StepFailedError: it ended with another exit code.
        """
        return training(self.mlflow, arguments, environment=self.store.environment(), ends=ends)

    def outcomes(self) -> Any:
        """Join the log with the truth, push the figures to Prometheus, and return them."""
        truth = ["--truth", str(self.truth)] if self.truth.exists() else []
        options = ["--environment", ENVIRONMENT, "--log", LOG, *truth, "--push", self.gateway.url]
        options += ["--namespace", ENVIRONMENT, "--json"]
        return msgspec.json.decode(self.training("outcomes", self.service, *options))

    def due(self, folder: Path) -> Any:
        """Return the verdict on whether the model of a folder should be trained again."""
        options = ["--model-dir", str(folder), "--prometheus", self.prometheus.url, "--json"]
        return msgspec.json.decode(self.training("due", *options, ends=(0, 3)))


def run(console: Console, folder: Path, model_dir: Path, report: Path) -> None:
    """Run the loop.

    Args:
        console: for the progress.
        folder: an empty folder for all files of the loop.
        model_dir: the folder of the iris model, which here learns from its log.
        report: the file for the report.

    Raises:
        StepFailedError: a step failed, or an expected effect did not appear.
        ServerFailedError: a server did not start.
        httpx.HTTPError: a prediction failed.
    """
    started = time.monotonic()
    truth = folder / "truth.csv"
    with contextlib.ExitStack() as stack:
        with step(console, "Starting MLflow, an S3 store, a Pushgateway and Prometheus with the chart's alerts"):
            servers = _started(stack, folder, truth, model_dir.name)
        model = _learning_from_its_log(folder / "models" / servers.service, model_dir, servers)
        with step(console, "Training the first version, from the iris table: there is no log yet"):
            first = trained_by(servers.training("run", "--model-dir", str(model), "--if-due", "--json"))
            promote(servers.mlflow, first.name, first)
        with step(console, f"Serving {first.release}, with its prediction log on"):
            api = stack.enter_context(serving(folder, _settings(servers, first.name), port=servers.api_port))
        meadow = _meadow(model_dir)
        with step(console, f"A usual summer: {_USUAL} flowers, whose truth is known at once"):
            usual = _asked(api, meadow.flowers(_USUAL, dry=False))
            tell(truth, usual)
            _until(lambda: _logged(api), lambda rows: rows >= _USUAL, "the log did not fill")
            before = servers.outcomes()
        _say(console, before)
        with step(console, f"A dry summer: {_DRY} flowers of other sizes, whose truth is not known yet"):
            dry = _asked(api, meadow.flowers(_DRY, dry=True))
            _until(lambda: _logged(api), lambda rows: rows >= _USUAL + _DRY, "the log did not fill")
            late = servers.outcomes()
            _until(lambda: _firing(servers), lambda names: "ModelInputDrift" in names, "no drift was seen")
            drift = servers.due(model)
        _say(console, late)
        console.print(f"  {drift['reason']}", markup=False)
        with step(console, "The truth arrives late and is joined with the log"):
            tell(truth, dry)
            known = servers.outcomes()
            _until(lambda: _firing(servers), lambda names: set(names) >= set(ALERTS), "an alert is missing")
            due = servers.due(model)
        _say(console, known)
        console.print("  Why training is due:", *(f"\n  - {each['says']}" for each in _reasons(due)), markup=False)
        with step(console, "Training again, from the log joined with its truth, and comparing with the champion"):
            options = ["--model-dir", str(model), "--if-due", "--prometheus", servers.prometheus.url, "--json"]
            said = servers.training("run", *options)
            second, result = trained_by(said), msgspec.json.decode(said)
        with step(console, f"Promoting {second.release}: the API swaps to it while it serves"):
            promote(servers.mlflow, first.name, second)
            wait_for_version(api, second.version)
            after = _asked(api, meadow.flowers(_AFTER, dry=True))
        acts = [Act("a usual summer", usual), Act("a dry summer", dry), Act("the new version", after)]
        written = page(
            Report(acts=acts, before=before, late=late, known=known, due=due, second=result, first=first.release),
            round(time.monotonic() - started),
        )
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(written, encoding="utf-8")
    console.print(f"Right answers: {_share(usual)}, then {_share(dry)}, and with {second.release} {_share(after)}.")
    console.print(f"The report: {report.resolve().as_uri()}", soft_wrap=True)


def _started(stack: contextlib.ExitStack, folder: Path, truth: Path, service: str) -> _Servers:
    store_server, made = store(folder)
    gateway, mlflow, port = pushgateway(folder), mlflow_server(folder), free_port()
    addresses = f"{LOOPBACK}:{port}", gateway.url.removeprefix("http://")
    watching = prometheus(folder, service, ENVIRONMENT, *addresses, ALERTS)
    servers = (store_server, gateway, mlflow, watching)
    # Started together, because MLflow alone takes as long as the others in total.
    for server in servers:
        server.start()
        stack.callback(server.kill if server is store_server else server.stop)
    for server in servers:
        server.wait_ready()
    made.make_bucket(BUCKET)
    return _Servers(mlflow, made, gateway, watching, port, truth, service)


def _learning_from_its_log(folder: Path, model_dir: Path, servers: _Servers) -> Path:
    """Write a copy of the model's folder that learns from its log, and from its table until there is a log."""
    yaml = YAML()
    content = yaml.load(model_dir / "training.yaml")
    content["outcomes"] = {"truth": [str(servers.truth)], "start": content["data"], "rows": _USUAL}
    content |= {"data": servers.log, "model": "random-forest"}
    content.pop("params", None)
    # In a dry summer, the length of a petal has another meaning.
    content["gate"].pop("directional", None)
    # The demo is about alerts, so the growth of the log must not be a reason.
    content["due"] = {"rows": None}
    folder.mkdir(parents=True)
    yaml.dump(content, folder / "training.yaml")
    (folder / "README.md").write_text((model_dir / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def _settings(servers: _Servers, model: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": servers.mlflow.url,
        "MODEL_NAME": model,
        "MODEL_STAGE": ALIAS,
        "MODEL_POLL_SECONDS": "1",
        "LOG_FORMAT": "json",
        "PREDICTION_LOG": servers.log,
        "PREDICTION_LOG_SAMPLE": "1",
        "PREDICTION_LOG_SECONDS": "0.5",
        "PREDICTION_LOG_ACCESS_KEY_ID": servers.store.access_key,
        "PREDICTION_LOG_SECRET_ACCESS_KEY": servers.store.secret_key,
        "S3_ENDPOINT_URL": servers.store.url,
    }


def _meadow(model_dir: Path) -> Meadow:
    # Imported here: this imports scikit-learn, which takes a second, and help should not wait for it.
    from training.data import load  # noqa: PLC0415
    from training.model_folder import load_settings  # noqa: PLC0415

    dataset = load(load_settings({}, model_dir))
    return Meadow(dataset.rows, dataset.truth)


def _asked(api: Server, flowers: Flowers) -> list[Answered]:
    return ask(api.url, flowers)


def _until(asked: Callable[[], _T], enough: Callable[[_T], bool], otherwise: str) -> _T:
    """Repeat a query until its result is enough: logs are written and figures scraped with a delay.

    Raises:
        StepFailedError: it is not enough after two minutes.
    """
    deadline = time.monotonic() + _SECONDS
    while not enough(found := asked()):
        if time.monotonic() > deadline:
            raise StepFailedError(f"{otherwise} in {_SECONDS:.0f} s; the last answer was {found}.")
        time.sleep(0.2)
    return found


def _logged(api: Server) -> int:
    """Return how many rows the service has written to its log."""
    text = httpx.get(f"{api.url}/metrics", timeout=10.0, trust_env=False).text
    found = [
        line.split()[-1] for line in text.splitlines() if line.startswith("serving_prediction_log_rows_written_total")
    ]
    return int(sum(map(float, found)))


def _firing(servers: _Servers) -> list[str]:
    """Return the names of the alerts that fire."""
    said = httpx.get(f"{servers.prometheus.url}/api/v1/alerts", timeout=10.0, trust_env=False).json()
    return sorted({each["labels"]["alertname"] for each in said["data"]["alerts"] if each["state"] == "firing"})


def _reasons(due: Any) -> list[Any]:
    return [finding for finding in due["findings"] if finding["answer"] == "due"]


def _say(console: Console, outcomes: Any) -> None:
    version = next(each for each in outcomes["versions"] if each["current"])
    realised = (version.get("realised") or {}).get("metrics", {}).get("accuracy")
    estimated = (version.get("estimated") or {}).get("accuracy")
    real = f"{realised['value']:.3f}" if realised else "not known"
    guess = f"{estimated['value']:.3f}" if estimated else "not known"
    below = f"; below the gate: {', '.join(version['below_gate'])}" if version["below_gate"] else ""
    console.print(
        f"  accuracy: realised {real} on {outcomes['joined']} rows, estimated {guess} on {version['answered']}{below}",
        markup=False,
    )


def _share(answered: Sequence[Answered]) -> str:
    return f"{sum(each.right for each in answered) / len(answered):.1%}"
