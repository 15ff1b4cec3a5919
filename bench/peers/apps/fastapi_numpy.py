"""FastAPI without pandas: a pydantic model of a list of numbers, a numpy array, `model.predict`."""

import os
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["PEER_MODEL"])


class Row(BaseModel):
    features: list[float]


class Batch(BaseModel):
    instances: list[list[float]]


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
async def predict(row: Row) -> dict[str, Any]:
    return {"prediction": model.predict(np.array([row.features])).tolist()[0]}


@app.post("/predict-batch")
async def predict_batch(batch: Batch) -> dict[str, Any]:
    return {"predictions": model.predict(np.array(batch.instances)).tolist()}
