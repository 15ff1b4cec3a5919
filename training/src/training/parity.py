"""Whether the pipeline and its ONNX twin are the same model, on rows as they come and on rows made to hurt."""

import numpy as np

from modelformat.mlmodel import SKOPS_FILE
from training.bundle import Bundle
from training.checks import Check, at_most
from training.hard_rows import hard_rows
from training.settings import GateSettings
from training.split import Split


def parity_checks(bundle: Bundle, split: Split, settings: GateSettings, scale: float) -> list[Check]:
    """Compare the pipeline with its twin.

    Args:
        bundle: Both of them.
        split: Held-out rows, of which the hard ones are made, too.
        settings: How far they may be apart.
        scale: What distances are shares of.
    """
    if not (bundle.folder / SKOPS_FILE).is_file():
        return [Check(name="parity", passed=True, detail="it has no scikit-learn form to be compared with")]
    hard = hard_rows(bundle.kinds, split.test_rows, bundle.pipeline)
    return [
        *_compared(bundle, split.test_rows, settings.parity_tolerance, scale, ""),
        *_compared(bundle, hard, settings.parity_tolerance, scale, " on hard rows"),
    ]


def _compared(bundle: Bundle, rows: np.ndarray, tolerance: float, scale: float, which: str) -> list[Check]:
    original, scores = bundle.pipeline_scores(rows), bundle.twin.scores(rows)
    distances = np.abs(original - scores).max(axis=1) / scale
    detail = f"ONNX against skops on {len(rows)} rows"
    if which and not distances.max() <= tolerance:
        detail += f"; farthest apart for {_shown(bundle, rows[int(np.nan_to_num(distances, nan=np.inf).argmax())])}"
    checks = [at_most(f"parity{which}", float(distances.max()), tolerance, detail)]
    if bundle.contract.classes:
        # Two classes that are level up to rounding have no order, in the pipeline neither.
        top_two = np.sort(original, axis=1)[:, -2:]
        decided = top_two[:, 1] - top_two[:, 0] > 2 * tolerance
        labels = bundle.labels[scores.argmax(axis=1)]
        differing = int((decided & (labels != bundle.pipeline_labels(rows))).sum())
        what = "rows with another label"
        if differing and checks[0].passed:
            what += "; the pipeline names labels by another rule than the largest probability, as tuned thresholds do"
        checks.append(at_most(f"parity of labels{which}", differing, 0, what))
    return checks


def _shown(bundle: Bundle, row: np.ndarray, most: int = 8) -> str:
    shown = [f"{name}={value!r}"[:60] for name, value in zip(bundle.features, row.tolist(), strict=True)]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
