"""Proves that training names the Secret to check when the store refuses its keys, and registers nothing."""

import os
import subprocess

from mlflow import MlflowClient

from embedded.processes import Server, program
from tests.integration.stores import S3Store, S3User


def test_refused_keys_are_reported_with_their_secret(mlflow_on_s3: Server, s3: S3Store) -> None:
    stranger = s3.environment(S3User("stranger", "not-a-key"))
    environment = {
        **os.environ, **stranger, "MLFLOW_TRACKING_URI": mlflow_on_s3.url, "S3_SECRET_NAME": "s3-mlflow",
    }  # fmt: skip
    command = [program("training"), "run", "--data", "iris", "--name", "refused"]

    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True, timeout=120)

    assert done.returncode == 1
    assert "(keys: Secret s3-mlflow)" in done.stderr
    assert "Traceback" not in done.stderr
    assert [
        model.name for model in MlflowClient(mlflow_on_s3.url).search_registered_models() if model.name == "refused"
    ] == []
