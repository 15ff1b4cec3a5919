"""Prediction logs as serving writes them, made for tests."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from modelformat.logged import SUFFIX, Line

DAY = "2026-11-20"


def line(request_id: str, prediction: Any, row: int = 0, **more: Any) -> Line:
    """Return a row of a request at noon of `DAY`; `more` overrides its fields."""
    usual: dict[str, Any] = {
        "time": f"{DAY}T12:00:00.000000Z", "model": "iris-classifier", "version": "7", "release": "v1.2.0",
        "digest": "sha256:1", "caller": None, "reason": "sample", "probability": 0.9, "features": {"length": 1.5},
    }  # fmt: skip
    return msgspec.convert(usual | {"request_id": request_id, "row": row, "prediction": prediction} | more, Line)


def write_log(folder: Path, lines: Iterable[Line], name: str = "a") -> Path:
    """Write lines into one file for each day, and return the log's folder."""
    days: dict[str, list[Line]] = {}
    for each in lines:
        days.setdefault(each.time[:10], []).append(each)
    for day, some in days.items():
        path = folder / f"date={day}" / "hour=12" / f"{name}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(msgspec.json.Encoder().encode_lines(some)))
    return folder
