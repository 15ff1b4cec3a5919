"""Proves that any table is either refused with a reason, or gives a twin with the pipeline's answers."""

import contextlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from training import models
from training.baseline import measure_baseline
from training.data import Dataset, load_dataset
from training.errors import BadInputError
from training.hard_rows import hard_rows
from training.onnx_twin import Twin, to_onnx

pytestmark = pytest.mark.slow

ROWS = 24
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6, width=32)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "numbers": numbers,
    "far numbers": st.floats(5_799_000, 5_800_000),
    "integers": st.integers(-(2**40), 2**40),
    "booleans": st.booleans(),
    "dates": st.integers(-(2**29), 2**31).map(lambda second: pd.Timestamp(second, unit="s")),
    "texts": letters,
    "few texts": st.sampled_from(["red", "Red", " red", "\u00e9", "e\u0301", "nan", "NA", "1", ""]),
    "nothing": st.none(),
}


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Tables of one to four columns of any kind, some with gaps, and a target `y`."""
    columns: dict[str, Any] = {}
    for name in draw(
        st.lists(names.filter(lambda name: name.strip() and name != "y"), min_size=1, max_size=4, unique=True)
    ):
        values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        if draw(st.booleans()):
            values = st.none() | values
        columns[name] = draw(st.lists(values, min_size=ROWS, max_size=ROWS))
    columns["y"] = draw(st.permutations(np.resize(["l", "r"], ROWS).tolist()))
    # From objects, because numpy would turn integers with gaps into floats.
    return pd.DataFrame({name: pd.Series(values, dtype=object).convert_dtypes() for name, values in columns.items()})


def learnt(dataset: Dataset, model: str) -> None:
    params: dict[str, Any] = {"random-forest": {"n_estimators": 3}, "hist-gradient-boosting": {"max_iter": 3}}.get(
        model, {}
    )
    pipeline = models.build(model, dataset.task, params, 1, dataset.columns, centre=bool(dataset.centred))
    models.fit(pipeline, dataset.rows, dataset.truth)
    twin = Twin(to_onnx(pipeline, dataset.columns, classifier=True))
    kinds = [(column.kind, column.optional) for column in dataset.columns]
    rows = np.concatenate([dataset.rows, hard_rows(kinds, dataset.rows, pipeline)])
    assert np.abs(pipeline.predict_proba(rows) - twin.scores(rows)).max() < 1e-4
    baseline = measure_baseline(dataset.columns, dataset.rows, twin.scores(dataset.rows), dataset.classes)
    for feature in baseline.features:
        assert sum(feature.shares) == pytest.approx(1) or feature.nulls == 1


@pytest.mark.parametrize("model", ["logistic-regression", "random-forest", "hist-gradient-boosting"])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(table=tables(), written=st.sampled_from(["csv", "parquet"]))
def test_any_table_is_refused_or_learned(tmp_path: Path, model: str, table: pd.DataFrame, written: str) -> None:
    path = tmp_path / f"data.{written}"
    table.to_csv(path, index=False) if written == "csv" else table.to_parquet(path, index=False)
    with contextlib.suppress(BadInputError):
        learnt(load_dataset(str(path), "y"), model)
