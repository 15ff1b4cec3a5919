"""Proves that the demo predicts rows that training held out."""

from pathlib import Path

import numpy as np
import pandas as pd

from embedded.demo import _held_out_rows
from training.data import load
from training.model_folder import load_settings
from training.split import split_dataset


def test_rows_are_those_that_the_folder_has_held_out(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    kinds = np.repeat(["left", "right"], 40)
    frame = pd.DataFrame({"a": random.normal(size=80), "b": random.normal(size=80), "kind": kinds})
    frame.assign(who=np.arange(80) // 4).to_csv(tmp_path / "points.csv", index=False)
    (tmp_path / "training.yaml").write_text("data: points.csv\nname: points\ntarget: kind\nsplit: {group: who}\n")
    settings = load_settings({}, tmp_path)
    held_out = split_dataset(load(settings), seed=settings.seed, test_size=settings.test_size).test_rows
    rows = _held_out_rows(tmp_path)
    assert len(rows) == 6
    for row in rows:
        assert np.asarray(row.features, dtype=np.float32).tolist() == held_out[row.number].tolist()
