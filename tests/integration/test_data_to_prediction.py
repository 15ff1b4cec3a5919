"""Serving answers as the model that training registered: the same figures in both runtimes, with Postgres and S3.

MLflow runs as in the cluster (metadata in Postgres, `--no-serve-artifacts`). Training writes to S3 as a user with that
right, and serving reads it as a user who can only read. Pinned by address and digest, serving needs no MLflow.
"""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from embedded.processes import NOBODY, Server
from embedded.servers import serving as serving_server
from tests.integration.stores import S3Store
from training.cli import execute
from training.data import load_dataset
from training.kinds import as_asked
from training.model_folder import TRAINING_FILE, ModelFolder, list_folders, load_settings, read_model_file
from training.settings import Settings
from training.split import split_dataset

ROOT = Path(__file__).parents[2]
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def train(mlflow_on_s3: Server, s3: S3Store) -> Train:
    """A function that runs `training run` with options in this process, and returns its JSON result."""

    def run(*options: str) -> dict[str, Any]:
        output, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
            for name, value in {"MLFLOW_TRACKING_URI": mlflow_on_s3.url, **s3.environment(s3.writer)}.items():
                patch.setenv(name, value)
            code = execute(["run", "--json", *options])
        assert code == 0, errors.getvalue()
        said: dict[str, Any] = json.loads(output.getvalue())
        return said

    return run


def pins(trained: dict[str, Any], s3: S3Store) -> dict[str, str]:
    """Return the settings of a pod that is pinned to a version, and cannot reach a registry."""
    return {
        "MLFLOW_TRACKING_URI": NOBODY,
        "MODEL_NAME": trained["name"],
        "MODEL_VERSION": trained["version"],
        "MODEL_DIGEST": trained["digest"],
        "MODEL_URI": trained["uri"],
        "S3_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": s3.reader.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.reader.secret_key,
    }


def held_out(data: str) -> pd.DataFrame:
    dataset = load_dataset(data)
    settings = Settings(data=data)
    split = split_dataset(dataset, seed=settings.seed, test_size=settings.test_size)
    return pd.DataFrame(split.test_rows, columns=list(dataset.features))


def held_out_as_json(folder: Path) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return the columns of a model as code, and its held-out rows as JSON."""
    settings = load_settings({}, folder)
    dataset = load_dataset(settings.data, settings.target, settings.task, settings.csv, settings.columns)
    split = split_dataset(dataset, seed=settings.seed, test_size=settings.test_size)
    return dataset.features, [as_asked(dataset.columns, row) for row in split.test_rows]


def registered_predictions(
    trained: dict[str, Any], rows: pd.DataFrame, tracking_uri: str, s3: S3Store, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """Return the predictions of MLflow's own loader, in this process."""
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/{trained['name']}/{trained['version']}")
    answers: list[Any] = np.asarray(model.predict(rows)).ravel().tolist()
    return answers


@pytest.mark.parametrize(
    ("data", "model"),
    [
        ("iris", "logistic-regression"),
        ("wine", "random-forest"),
        ("breast-cancer", "hist-gradient-boosting"),
        ("diabetes", "ridge"),
    ],
)
# The pipeline is fitted on plain arrays (docs/model-format.md), but MLflow passes it a table.
@pytest.mark.filterwarnings("ignore:X has feature names", "ignore:.*Any type hint")
def test_both_runtimes_answer_what_the_registered_model_does(
    data: str,
    model: str,
    train: Train,
    mlflow_on_s3: Server,
    s3: S3Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thresholds = ["--threshold", "r2=0.3"] if data == "diabetes" else []
    trained = train("--data", data, "--model", model, *thresholds)
    rows = held_out(data)
    expected = registered_predictions(trained, rows, mlflow_on_s3.url, s3, monkeypatch)

    for runtime in ("onnx", "sklearn"):
        with serving_server(tmp_path, {**pins(trained, s3), "RUNTIME": runtime}) as api:
            body = {"instances": rows.to_numpy().tolist()}
            answer = httpx.post(f"{api.url}/predict", json=body, trust_env=False).json()
            info = httpx.get(f"{api.url}/model/info", trust_env=False).json()
        assert info["runtime"] == runtime
        assert info["digest"] == trained["digest"]
        assert answer["model_version"] == trained["version"]
        predicted = [each["prediction"] for each in answer["predictions"]]
        if data == "diabetes":
            np.testing.assert_allclose(predicted, expected, rtol=1e-4)
        else:
            assert predicted == expected


@pytest.mark.parametrize("folder", list_folders(ROOT / "models"), ids=lambda folder: folder.name)
def test_the_models_as_code_are_trained_and_served(
    folder: ModelFolder, train: Train, s3: S3Store, tmp_path: Path
) -> None:
    trained = train("--model-dir", folder.folder)
    assert trained["name"] == folder.model
    assert trained["data"].endswith(folder.data)
    assert "candidate" in trained["aliases"]
    assert trained["uri"].startswith("s3://")
    asked = {check["name"]: check["bound"] for check in trained["gate"]["checks"]}
    said = read_model_file(Path(folder.folder) / TRAINING_FILE)
    assert {name: asked[name] for name in said.gate.thresholds} == said.gate.thresholds
    names, rows = held_out_as_json(Path(folder.folder))
    with serving_server(tmp_path, pins(trained, s3)) as api:
        answers = [
            httpx.post(f"{api.url}/predict", json={"instances": instances}, trust_env=False).json()
            for instances in (rows, [dict(zip(names, row, strict=True)) for row in rows])
        ]
    by_position, by_name = ([each["prediction"] for each in answer["predictions"]] for answer in answers)
    assert by_position == by_name
    assert len(by_name) == len(rows)
    assert answers[0]["model_version"] == trained["version"]


@pytest.fixture(scope="module")
def of_days(train: Train, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON result of a run whose data has days written as numbers."""
    file = tmp_path_factory.mktemp("days") / "days.csv"
    days = np.repeat([20240114, 20240115, 20240116, 20240117], 25)
    pd.DataFrame({"day": days, "kind": np.where(days < 20240116, "before", "after")}).to_csv(file, index=False)
    return train("--data", str(file), "--target", "kind", "--cv", "0", "--model", "random-forest")


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
def test_days_written_as_numbers_are_distinguished_over_http(
    runtime: str, of_days: dict[str, Any], s3: S3Store, tmp_path: Path
) -> None:
    """They are so large that float32 cannot hold each of them."""
    with serving_server(tmp_path, {**pins(of_days, s3), "RUNTIME": runtime}) as api:
        body = {"instances": [[20240115], [20240116]]}
        answer = httpx.post(f"{api.url}/predict", json=body, trust_env=False).json()
    assert [each["prediction"] for each in answer["predictions"]] == ["before", "after"]
