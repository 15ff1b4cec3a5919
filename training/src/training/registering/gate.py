"""The gate of a model that was made elsewhere: the stored form gives the model's answers, and metrics reach bounds."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from modelformat.mlmodel import ONNX_FILE
from training import metrics
from training.checks import Check, at_least, at_most
from training.data import Dataset
from training.gate import GateReport
from training.registering.agreement import disagreements
from training.registering.estimators import Answers
from training.registering.messages import TABLE_FILE, ColumnGiven
from training.registering.opening import Opened
from training.registering.scoring import GraphScores
from training.registering.table import contract_rows
from training.settings import GateSettings

_SINGLE_ROWS = 200
_RUNS, _WARM_UP = 200, 20


def measured(answers: Answers, dataset: Dataset) -> dict[str, float]:
    """Return all metrics of a model's answers to the data: of its labels, and of its probabilities if it has some."""
    count = len(dataset.rows)
    return metrics.measure(scores_of(answers, count), dataset.truth, dataset.classes)


def scores_of(answers: Answers, count: int) -> np.ndarray:
    """Return the first answers in the form of `training.metrics.measure`."""
    if answers.codes is None:
        assert answers.values is not None  # noqa: S101  (narrows the type)
        return answers.values[:count].reshape(-1, 1)
    probable = [] if answers.probabilities is None else [answers.probabilities[:count]]
    return np.column_stack([*probable, answers.codes[:count]])


def judge(
    folder: Path, opened: Opened, dataset: Dataset, settings: GateSettings, figures: dict[str, float]
) -> GateReport:
    """Run every check on the stored files.

    Args:
        folder: The artifact folder, as the store returned it.
        opened: The model's own answers.
        dataset: The data, with the model's columns.
        settings: Bounds; only given thresholds of metrics count, because the model may have learned from the data.
        figures: The model's metrics on the data.
    """
    checks = [
        (at_most if name in metrics.LOWER_IS_BETTER else at_least)(name, figures[name], bound)
        for name, bound in settings.thresholds.items()
    ]
    if opened.outcome.form == "onnx":
        checks += _of_graph(folder, opened, dataset, settings)
    else:
        detail = "scikit-learn on plain arrays gives the model's answers (checked in the confined process)"
        checks.append(Check(name="parity", passed=True, detail=detail))
    return GateReport(all(check.passed for check in checks), tuple(checks))


def _of_graph(folder: Path, opened: Opened, dataset: Dataset, settings: GateSettings) -> list[Check]:
    outcome, data = opened.outcome, len(dataset.rows)
    scores = GraphScores((folder / ONNX_FILE).read_bytes(), outcome.classes, outcome.labels)
    columns = [ColumnGiven(column.name, column.kind, column.optional) for column in dataset.columns]
    rows = _rows(opened, columns)
    found = scores.answers(rows)
    apart = disagreements(opened.answers, found, data, settings.parity_tolerance, columns, rows)
    detail = f"the graph {apart.problems[0]}" if apart.problems else f"compared on {data} rows and on hard rows"
    single = [scores.answers(rows[index : index + 1]) for index in range(min(data, _SINGLE_ROWS))]
    alone = sum(_differs(found, index, each) for index, each in enumerate(single))
    return [
        Check(name="parity", passed=not apart.problems, detail=detail),
        at_most("batch and single", alone, 0, "rows whose answer changes when they come one at a time"),
        _latency(scores, rows[:1], settings),
    ]


def _rows(opened: Opened, columns: list[ColumnGiven]) -> np.ndarray:
    """Return the rows that the model was given, in the same order."""
    frame = pd.read_parquet(opened.folder / TABLE_FILE)
    return contract_rows(frame[[column.name for column in columns]], columns)


def _differs(all_at_once: Answers, index: int, alone: Answers) -> bool:
    if all_at_once.codes is not None and alone.codes is not None:
        return bool(all_at_once.codes[index] != alone.codes[0])
    assert all_at_once.values is not None  # noqa: S101  (narrows the type)
    assert alone.values is not None  # noqa: S101
    # Single precision, and another order of summation.
    spread = 1e-5 * float(np.nanstd(all_at_once.values))
    return not bool(np.isclose(all_at_once.values[index], alone.values[0], rtol=1e-5, atol=spread, equal_nan=True))


def _latency(scores: GraphScores, row: np.ndarray, settings: GateSettings) -> Check:
    times = []
    for _ in range(_WARM_UP + _RUNS):
        start = time.perf_counter()
        scores.answers(row)
        times.append(time.perf_counter() - start)
    median = float(np.median(times[_WARM_UP:])) * 1000
    return at_most("latency", median, settings.latency_ms, "ms for one row, median")
