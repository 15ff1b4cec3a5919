"""The connection to MLflow: outages become one sentence, and runs are recorded."""

import contextlib
import os
import platform
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import mlflow
import msgspec
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.data.pandas_dataset import from_pandas
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined] # made while it loads
from mlflow.entities import Metric, Param
from mlflow.exceptions import InvalidUrlException, MlflowException
from mlflow.models import Model
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from msgspec import Struct
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from modelformat.digest import ADDED_BY_DOWNLOAD
from training.errors import BadInputError, OutageError

if TYPE_CHECKING:
    # Not imported at run time: listing versions or moving an alias should not wait for scikit-learn.
    from matplotlib.figure import Figure

    from training.data import Dataset
    from training.search import Trial

# MLflow's codes for a request that is invalid in itself.
_PERMANENT = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
RECORDED_PACKAGES = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx", "skops")


CARD_FILE = "card.md"
# The parameter of a run that registered a model which was made elsewhere.
REGISTERED_FROM = "registered_from"


class Writer(Protocol):
    """Writes the artifact folder of a model, as a flavor of MLflow does."""

    def save_model(self, path: str, mlflow_model: Model, **_handed_on: object) -> None:
        """Write the folder."""


class Tracking:
    """A connection to one MLflow."""

    def __init__(self, uri: str | None) -> None:
        """Set MLflow's address, without sending a request.

        Args:
            uri: The tracking address; None leaves it to MLFLOW_TRACKING_URI and MLflow's default.

        Raises:
            BadInputError: MLflow does not support this kind of address.
        """
        self.uri: str = uri or mlflow.get_tracking_uri()
        _refuse_unusable(self.uri)
        mlflow.set_tracking_uri(self.uri)
        with self.reachable():
            try:
                self.client = MlflowClient()
            except (UnsupportedModelRegistryStoreURIException, InvalidUrlException) as error:
                raise BadInputError(f"--tracking-uri: MLflow does not support the address {self.address!r}.") from error

    @property
    def address(self) -> str:
        """The tracking address, safe to show: without a password."""
        return re.sub(r"//[^/@]*@", "//", self.uri)

    @contextlib.contextmanager
    def reachable(self) -> Iterator[None]:
        """Turn the many exceptions of an unreachable MLflow into one sentence.

        Raises:
            OutageError: The block could not reach MLflow, or MLflow denied access.
            BadInputError: MLflow refuses the request, and would refuse it again.
        """
        try:
            yield
        except MlflowException as error:
            if error.error_code in _PERMANENT:
                text = " ".join(str(error.message).split())[:400]
                raise BadInputError(f"MLflow at {self.address} refuses the request: {text}") from error
            raise OutageError(f"MLflow at {self.address} {_reason(error)}") from error
        except (RequestException, SQLAlchemyError) as error:
            raise OutageError(f"MLflow at {self.address} {_reason(error)}") from error
        except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
            raise OutageError(f"The artifact store of MLflow at {self.address}{_keys()} {_reason(error)}") from error

    def check(self) -> None:
        """Send a small request to MLflow, so that an outage shows before any work is done.

        Raises:
            OutageError: MLflow does not answer.
        """
        with self.reachable():
            self.client.search_experiments(max_results=1)

    @contextlib.contextmanager
    def run(self, experiment: str) -> Iterator[str]:
        """Record in a new run, which is marked as failed if the block raises.

        Yields:
            The run's id.
        """
        with self.reachable():
            mlflow.set_experiment(experiment)
            with mlflow.start_run() as active:
                yield active.info.run_id

    def record_data(self, dataset: "Dataset", held_out: int) -> None:
        """Record in the active run the data, and how many rows are held out."""
        mlflow.log_params(
            {"data": dataset.source, "target": dataset.target, "task": dataset.task, "data_sha256": dataset.sha256}
            | {"rows": len(dataset.rows), "features": len(dataset.features)}
        )
        if dataset.version:
            mlflow.log_param("data_version", dataset.version)
        # Without a source, MLflow records the code as the source, which is right for a built-in data set.
        path = Path(dataset.source)
        source = {"source": LocalArtifactDatasetSource(str(path.resolve()))} if path.exists() else {}
        if dataset.source.startswith(("s3://", "https://", "http://")):
            source = {"source": dataset.source}
        # The digest is shortened, because MLflow's database has room for 36 characters.
        with warnings.catch_warnings():
            # MLflow warns that integers cannot have gaps. If they have, the column is `optional`.
            warnings.filterwarnings("ignore", message=".*integer column", category=UserWarning)
            described = from_pandas(
                dataset.frame(), targets=dataset.target, name=dataset.name, digest=dataset.sha256[:32], **source
            )
            mlflow.log_input(described, context="training", tags={"held_out_rows": str(held_out)})

    def record_run(self, parameters: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Record parameters, figures and the environment in the active run."""
        mlflow.log_params(dict(parameters))
        mlflow.log_metrics(dict(metrics))
        mlflow.set_tags(environment())

    def record_figures(self, figures: Mapping[str, "Figure"]) -> None:
        """Store figures as PNG artifacts of the active run, by file name."""
        for name, figure in figures.items():
            mlflow.log_figure(figure, name)

    def record_file(self, path: Path) -> None:
        """Store a file as an artifact of the active run."""
        mlflow.log_artifact(str(path))

    def record_model(self, writer: "Writer") -> str:
        """Store an artifact folder as a logged model of the active run.

        Returns:
            The logged model's id.
        """
        # MLflow need not check the input example: the gate predicts every held-out row.
        info = Model.log(None, writer, name="model", flavor_name="sklearn", validate_serving_input=False)
        model_id: str = info.model_id
        return model_id

    def record_verdict(self, model_id: str, report: Struct, tags: Mapping[str, str]) -> None:
        """Store the gate's report as an artifact of the active run, and tag run and model with the result."""
        mlflow.log_text(msgspec.json.format(msgspec.json.encode(report), indent=2).decode(), "gate.json")
        mlflow.set_tags(dict(tags))
        self.client.set_logged_model_tags(model_id, dict(tags))

    def record_trials(self, trials: "Sequence[Trial]", run_id: str) -> None:
        """Record each trial of a search as a nested run of another run."""
        if not trials:
            return
        active = self.client.get_run(run_id).info
        for number, trial in enumerate(trials, start=1):
            tags = {"mlflow.parentRunId": active.run_id, "mlflow.runName": f"trial-{number}"}
            tags |= {"problem": trial.problem} if trial.problem else {}
            nested = self.client.create_run(active.experiment_id, start_time=trial.started, tags=tags).info.run_id
            self.client.log_batch(
                nested,
                metrics=[Metric(name, value, trial.ended, 0) for name, value in trial.figures.items()],
                params=[Param(f"model.{name}", str(value)) for name, value in trial.params.items()],
            )
            self.client.set_terminated(nested, "FAILED" if trial.problem else "FINISHED", trial.ended)

    def record_card(self, text: str) -> None:
        """Store the model card as an artifact of the active run."""
        mlflow.log_text(text, CARD_FILE)

    def card_link(self) -> str:
        """Return a link to the model card of the active run, in Markdown, for descriptions in MLflow."""
        run = mlflow.active_run()
        assert run is not None  # noqa: S101  (called inside `run`)
        where = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{CARD_FILE}"
        return f"Model card: [{CARD_FILE}]({where}) of its run."

    def model_of_run(self, run_id: str) -> str:
        """Return the id of the model that a run logged.

        Raises:
            BadInputError: There is no such run, or it logged no model.
        """
        with self.reachable():
            try:
                outputs = self.client.get_run(run_id).outputs
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    raise BadInputError(f"MLflow at {self.address} has no run {run_id!r}.") from error
                raise
        if outputs is None or not outputs.model_outputs:
            raise BadInputError(f"Run {run_id!r} logged no model.")
        model_id: str = outputs.model_outputs[-1].model_id
        return model_id

    @contextlib.contextmanager
    def downloaded(self, model_uri: str) -> Iterator[Path]:
        """Yield a model's artifact folder, downloaded from the store; it is deleted after the block.

        Args:
            model_uri: `models:/<model id>` or `models:/<name>/<version>`, and `/<file>` for one file of it.

        Raises:
            OutageError: The store does not answer, or has no such folder.
        """
        with tempfile.TemporaryDirectory(prefix="training-") as folder:
            with self.reachable():
                path = Path(download_artifacts(artifact_uri=model_uri, dst_path=folder))
            # MLflow adds this file when it downloads a registered model. It is not a part of the version.
            if path.is_dir():
                (path / ADDED_BY_DOWNLOAD).unlink(missing_ok=True)
            yield path


def environment() -> dict[str, str]:
    """Return the environment of a run as tags: Python, packages and, in a checkout, the git commit."""
    tags = {"python": platform.python_version(), "platform": platform.platform()}
    tags |= {f"package.{name}": version(name) for name in RECORDED_PACKAGES}
    commit = git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def git_commit() -> str | None:
    """Return TRAINING_GIT_COMMIT, which the image sets, or the commit that is checked out in the current folder."""
    told = os.environ.get("TRAINING_GIT_COMMIT")
    if told:
        return None if told == "unknown" else told
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def _refuse_unusable(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and not parts.hostname:
        raise BadInputError(f"--tracking-uri: {uri!r} names no host.")
    if parts.scheme == "sqlite":
        # MLflow would create the folder, so a typing error would lead to an empty store.
        folder = Path(uri.removeprefix("sqlite:///")).parent
        if not folder.is_dir():
            raise BadInputError(f"--tracking-uri: the folder {folder} of {uri!r} does not exist.")


# Words in nested connection errors, and their meaning.
_CAUSES = {
    "too many 500 error responses": "keeps failing with internal errors (500)",
    "error responses": "keeps answering with errors",
    "Connection refused": "cannot be reached: connection refused",
    "timed out": "cannot be reached: timed out",
    "Name or service not known": "cannot be reached: no such host",
    "Max retries exceeded": "cannot be reached",
}


def _keys() -> str:
    """Say where the store's keys come from, because they may be wrong; only the deployment knows this."""
    secret = os.environ.get("S3_SECRET_NAME")
    return f" (keys: Secret {secret})" if secret else ""


def _reason(error: Exception) -> str:
    text = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))
    for words, meaning in _CAUSES.items():
        if words in text:
            return f"{meaning}."
    if "error code 401" in text:
        return "requires a password (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    if "error code 403" in text:
        return "refuses this client (403): it does not allow this host name or these credentials."
    return f"reports: {text[:400]}"
