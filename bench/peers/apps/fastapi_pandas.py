"""FastAPI as most tutorials write it: a pydantic model of one row, a pandas DataFrame, `model.predict`."""

import os
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

_COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]

app = FastAPI()
model = joblib.load(os.environ["PEER_MODEL"])


class Flower(BaseModel):
    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


def _predict(flowers: list[Flower]) -> list[str]:
    # The model was fitted without names, and would warn about those of a DataFrame.
    frame = pd.DataFrame([flower.model_dump() for flower in flowers], columns=_COLUMNS)
    return model.predict(frame.to_numpy()).tolist()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
async def predict(flower: Flower) -> dict[str, Any]:
    return {"prediction": _predict([flower])[0]}


@app.post("/predict-batch")
async def predict_batch(flowers: list[Flower]) -> dict[str, Any]:
    return {"predictions": _predict(flowers)}
