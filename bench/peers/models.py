"""The models that every server serves: trained once in a run by this project's own command, and then converted."""

import os
import subprocess
from pathlib import Path

import joblib
import msgspec

from embedded.processes import program
from training.bundle import Bundle

_PARAMETERS = {"logistic-regression": ["max_iter=1000"], "random-forest": ["n_estimators=100"]}
NAMES = tuple(_PARAMETERS)


class Model(msgspec.Struct, frozen=True):
    """One model in the forms that the servers need."""

    name: str
    folder: Path
    """The registered version's artifacts, as in docs/model-format.md."""
    digest: str
    pickle: Path
    """The same scikit-learn pipeline, written by joblib."""
    classes: list[str]


class Registered(msgspec.Struct):
    """What this project's commands print about a registered version."""

    uri: str
    digest: str


def train(name: str, folder: Path) -> Model:
    """Train a model on iris with this project's defaults, and save it for the other servers.

    Args:
        name: one of `NAMES`.
        folder: an empty folder for the registry, the artifacts and the pickle.

    Raises:
        CalledProcessError: training failed; it has printed the reason.
    """
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [program("training"), "run", "--model", name, "--param", *_PARAMETERS[name], "--json"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **registry}, check=True, stdout=subprocess.PIPE)
    registered = msgspec.json.decode(done.stdout, type=Registered)
    artifacts = Path(registered.uri)
    pipeline = Bundle(artifacts).pipeline
    pickle = folder / "model.joblib"
    joblib.dump(pipeline, pickle)
    return Model(name, artifacts, registered.digest, pickle, list(pipeline.classes_))
