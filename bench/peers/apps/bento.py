"""BentoML's two ways to serve a scikit-learn model: each request alone, and requests batched adaptively."""

import os

import bentoml
import joblib
import numpy as np

_SETTINGS = {"workers": 1, "traffic": {"timeout": 60}, "logging": {"access": {"enabled": False}}}


@bentoml.service(**_SETTINGS)
class Plain:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["PEER_MODEL"])

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)


@bentoml.service(**_SETTINGS)
class Batchable:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["PEER_MODEL"])

    # The bounds allow the largest batch that is sent, and the longest wait of a row when many arrive at once.
    @bentoml.api(batchable=True, max_batch_size=4000, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)
