"""A real process with a shadow: rows over gRPC are compared, and it stops in time however many rows wait."""

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from embedded.processes import LOOPBACK, NOBODY, free_port
from services.serving.tests.bundles import write_bundle
from tests.integration.serving_fixtures import served, wait_for

ROWS = load_iris().data


def counted(text: str) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "serving_shadow_rows_total"
    }


def test_rows_over_grpc_are_compared_and_a_full_queue_does_not_delay_the_end(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        slow = MLPClassifier((1500, 1500), max_iter=1, random_state=1).fit(ROWS, load_iris().target)
    port = free_port()
    settings = {
        "MODEL_VERSION": "7",
        "MODEL_URI": (tmp_path / "model").as_uri(),
        "MODEL_DIGEST": write_bundle(tmp_path / "model"),
        "SHADOW_VERSION": "8",
        "SHADOW_URI": (tmp_path / "shadow").as_uri(),
        "SHADOW_DIGEST": write_bundle(tmp_path / "shadow", estimator=slow, saved_as=""),
        "SHADOW_SAMPLE": "1",
        "MLFLOW_TRACKING_URI": NOBODY,
        "GRPC_PORT": str(port),
        "SHUTDOWN_DRAIN_SECONDS": "0",
    }
    with served(tmp_path, settings) as (server, client):
        wait_for(lambda: client.get("/health").json()["shadow"]["status"] == "ready")
        tensor = triton.InferInput("features", [3, 4], "FP64")
        tensor.set_data_from_numpy(np.ascontiguousarray(ROWS[:3]))
        with triton.InferenceServerClient(f"{LOOPBACK}:{port}") as caller:
            caller.infer("iris-classifier", [tensor])
        wait_for(lambda: sum(counted(client.get("/metrics").text).values()) == 3)
        body = {"instances": (ROWS.tolist() * 7)[:1000]}
        for _ in range(12):
            assert client.post("/predict", json=body).status_code == 200
        wait_for(lambda: counted(client.get("/metrics").text)["dropped"] > 0)
        start = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        wait_for(lambda: server.exit_status() is not None)
        assert server.exit_status() == 0
        # The shadow would need longer than this for all waiting rows.
        assert time.monotonic() - start < 15
