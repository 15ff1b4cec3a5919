"""FastAPI as most tutorials write it, for a table with text and gaps: pydantic, a pandas DataFrame, `model.predict`."""

import os
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["PEER_MODEL"])


class Penguin(BaseModel):
    island: str
    sex: str | None
    bill_length_mm: float | None
    bill_depth_mm: float | None
    flipper_length_mm: float | None
    body_mass_g: float | None


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/predict")
async def predict(penguin: Penguin) -> dict[str, Any]:
    return {"prediction": model.predict(pd.DataFrame([penguin.model_dump()])).tolist()[0]}
