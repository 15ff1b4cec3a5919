"""KServe's Python server with a scikit-learn model, like its own sklearn server, with one worker."""

import logging
import os
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(Model):
    def load(self) -> bool:
        self.model = joblib.load(os.environ["PEER_MODEL"])
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        # A list, because KServe writes class names as BYTES only from a list.
        result = self.model.predict(get_predict_input(payload)).tolist()
        return get_predict_response(payload, result, self.name)


if __name__ == "__main__":
    model = SklearnModel("iris")
    model.load()
    logging.disable(logging.INFO)  # it writes three lines for each request, and two of them cannot be switched off
    ModelServer(workers=1, enable_latency_logging=False).start([model])
