"""The noise check for regressions by trees, which have steps: a few rows next to a step may be, many may not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ROWS = 16_000


@pytest.mark.parametrize(("steps", "code"), [(3, 0), (200, 2)])
def test_rows_next_to_steps_are_counted(training: Callable[..., Any], tmp_path: Path, steps: int, code: int) -> None:
    place = np.random.default_rng(3).random(ROWS).round(5)
    height = (place * steps).astype(int) % 2
    pd.DataFrame({"place": place, "height": height * 1.5}).to_csv(tmp_path / "steps.csv", index=False)
    options = ["--target", "height", "--model", "hist-gradient-boosting", "--param", "max_iter=30"]
    more = ["--param", "learning_rate=0.5", "--param", "max_leaf_nodes=400", "--param", "min_samples_leaf=5"]
    found = training("run", "--data", str(tmp_path / "steps.csv"), *options, *more)
    assert found.code == code, found.err
    assert ("gate: noise:" in found.err) == (code == 2)
