"""Check that the pipeline and its ONNX twin are the same model, on ordinary rows and on difficult ones."""

import numpy as np

from training.bundle import Bundle
from training.checks import Check, at_most
from training.hard_rows import hard_rows
from training.labels import places, shares
from training.settings import GateSettings
from training.split import Split


def parity_checks(bundle: Bundle, split: Split, settings: GateSettings, scale: float) -> list[Check]:
    """Compare the pipeline with its twin.

    Args:
        bundle: The pipeline and the twin.
        split: Held-out rows; the difficult rows are made of them.
        settings: The tolerance.
        scale: Differences are shares of it.
    """
    if not bundle.has_pipeline:
        return [Check(name="parity", passed=True, detail="it has no scikit-learn form to compare with")]
    hard = hard_rows(bundle.kinds, split.test_rows, bundle.pipeline)
    return [
        *_compared(bundle, split.test_rows, settings.parity_tolerance, scale, ""),
        *_compared(bundle, hard, settings.parity_tolerance, scale, " on hard rows"),
    ]


def _compared(bundle: Bundle, rows: np.ndarray, tolerance: float, scale: float, which: str) -> list[Check]:
    original, scores = bundle.pipeline_scores(rows), bundle.twin.scores(rows)
    classes = len(bundle.contract.classes)
    distances = np.abs(_comparable(original, classes) - _comparable(scores, classes)).max(axis=1) / scale
    detail = f"ONNX against skops on {len(rows)} rows"
    if which and not distances.max() <= tolerance:
        detail += f"; farthest apart for {_shown(bundle, rows[int(np.nan_to_num(distances, nan=np.inf).argmax())])}"
    checks = [at_most(f"parity{which}", float(distances.max()), tolerance, detail)]
    if classes:
        differs = bundle.labels[places(scores, classes)] != bundle.pipeline_labels(rows)
        if bundle.labels_by == "largest":
            # Classes whose probabilities are equal up to rounding have no order, in the pipeline either.
            top_two = np.sort(original, axis=1)[:, -2:]
            differs &= top_two[:, 1] - top_two[:, 0] > 2 * tolerance
        what = "rows with another label"
        if differs.any() and bundle.labels_by == "predicted" and checks[0].passed:
            what += (
                "; a threshold that is exactly a possible probability, as in forests, may be rounded to either side: "
                "choose one between two of them"
            )
        checks.append(at_most(f"parity of labels{which}", int(differs.sum()), 0, what))
    return checks


def _comparable(scores: np.ndarray, classes: int) -> np.ndarray:
    return shares(scores, classes) if classes else scores


def _shown(bundle: Bundle, row: np.ndarray, most: int = 8) -> str:
    shown = [f"{name}={value!r}"[:60] for name, value in zip(bundle.features, row.tolist(), strict=True)]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
