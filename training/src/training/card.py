"""The model card as Markdown: the purpose of a version, its data, its metrics, and its limits."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct

from training.data import Dataset
from training.gate import GateReport
from training.kinds import NO_TEXT, Column, numeric
from training.labels import places, probabilities
from training.metrics import LOWER_IS_BETTER, baseline_metric, class_keys, measure
from training.onnx_twin import Twin
from training.plots import CONTRIBUTIONS_FILE
from training.split import Split

_MOST_COLUMNS = 60
_MOST_SLICED = 10
_MOST_SLICES = 12
_FEWEST_ROWS = 5
_IMPORTANCE_ROWS = 2000
_IMPORTANCE_COLUMNS = 200
_SHUFFLES = 3
_BINS = 5


class Subject(Struct, frozen=True, eq=False):
    """The subject of a card.

    Attributes:
        name: The registered model.
        model: The estimator's name.
        release: The version's release, empty if the gate refused it.
        run_id: The version's run.
        dataset: The data that it learned from.
        split: The training rows and the held-out rows.
        twin: The model; None if it has no graph that can run here.
        scores: The model's scores of the held-out rows.
        metrics: The model's metrics on them.
        quantile: The quantile that it predicts, if it predicts one.
        report: The gate's report.
        notes: Remarks about the data and the fit, in sentences.
        readme: The path of the owner's README, empty if there is none.
        learnt: If the metrics are not on held-out rows: a remark about the rows that they are on.
        contributions: The mean contribution of each column, the largest first; empty if the model cannot run here.
    """

    name: str
    model: str
    release: str
    run_id: str
    dataset: Dataset
    split: Split
    twin: Twin | None
    scores: np.ndarray
    metrics: dict[str, float]
    quantile: float | None
    report: GateReport
    notes: Sequence[str]
    readme: str = ""
    learnt: str = ""
    contributions: Sequence[tuple[str, float]] = ()

    @property
    def rows(self) -> str:
        """The rows that the figures are on."""
        return f"rows of the table, {self.learnt}" if self.learnt else "held-out rows"


def card(subject: Subject) -> str:
    """Return the card."""
    parts = [_head(subject), *_owner(subject), _data(subject), _figures(subject)]
    parts += [
        *_slices(subject),
        *_importance(subject),
        *_contributions(subject),
        _calibration(subject),
        _gate(subject),
        _limits(subject),
    ]
    return "\n\n".join(parts) + "\n"


def permutation_importance(subject: Subject, twin: Twin) -> list[tuple[str, float]]:
    """Return how much worse the model gets when the values of one column are shuffled, the largest first.

    The measure is the Brier score (F1 without probabilities), the root mean squared error or the pinball loss, on at
    most 2000 of the rows.
    """
    dataset, split = subject.dataset, subject.split
    rows, truth = split.test_rows[:_IMPORTANCE_ROWS], split.test_truth[:_IMPORTANCE_ROWS]
    metric = _importance_metric(subject)
    random = np.random.default_rng(0)

    def figure(given: np.ndarray) -> float:
        found = measure(twin.scores(given), truth, dataset.classes, subject.quantile)[metric]
        return found if metric in LOWER_IS_BETTER else -found

    before, found = figure(rows), []
    for index, column in enumerate(dataset.columns[:_IMPORTANCE_COLUMNS]):
        worse = []
        for _ in range(_SHUFFLES):
            shuffled = rows.copy()
            shuffled[:, index] = random.permutation(rows[:, index])
            worse.append(figure(shuffled) - before)
        found.append((column.name, float(np.mean(worse))))
    return sorted(found, key=lambda pair: -pair[1])


def _importance_metric(subject: Subject) -> str:
    probable = probabilities(subject.scores, len(subject.dataset.classes)) is not None
    return baseline_metric(subject.dataset.task, subject.quantile, probable=probable)


def _head(subject: Subject) -> str:
    release = f" {subject.release}" if subject.release else " (refused by the gate)"
    what = f"{subject.model} that predicts `{_cell(subject.dataset.target)}` ({subject.dataset.task})"
    if subject.quantile is not None:
        what += f", its quantile {subject.quantile:g}"
    return f"# {_cell(subject.name)}{release}\n\n{what}. Run `{subject.run_id}`."


def _owner(subject: Subject) -> Iterator[str]:
    if subject.readme:
        text = Path(subject.readme).read_text(encoding="utf-8", errors="replace").strip()
        yield "## What its owner says\n\n" + "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _data(subject: Subject) -> str:
    dataset = subject.dataset
    rows = [
        [column.name, column.kind, "yes" if column.optional else "no", _values(column, dataset.rows, index)]
        for index, column in enumerate(dataset.columns[:_MOST_COLUMNS])
    ]
    more = len(dataset.columns) - len(rows)
    version = f", {dataset.version}" if dataset.version else ""
    learnt, held_out = len(subject.split.train_rows), len(subject.split.test_rows)
    use = subject.learnt or f"{learnt} to learn from and {held_out} held out"
    return (
        f"## Data\n\n`{_cell(dataset.source)}`{version}: {len(dataset.rows)} rows (sha256 `{dataset.sha256}`), "
        f"{use}.\n\n"
        + _table(("column", "kind", "may be missing", "values"), rows)
        + (f"\n\nAnd {more} more columns." if more > 0 else "")
    )


def _values(column: Column, rows: np.ndarray, index: int) -> str:
    if column.is_text:
        shown = ", ".join(repr(text) for text in column.categories[:5])
        return shown + (f" and {len(column.categories) - 5} more" if len(column.categories) > 5 else "")
    values = numeric(rows, index)
    present = values[~np.isnan(values)]
    if column.kind == "datetime":
        first, last = np.array([present.min(), present.max()]).astype("datetime64[s]")
        return f"{first} to {last}"
    return f"{present.min():.6g} to {present.max():.6g}, median {np.median(present):.6g}"


def _figures(subject: Subject) -> str:
    overall = [[name, f"{value:.4g}"] for name, value in subject.metrics.items() if "/" not in name]
    text = f"## Figures on {subject.rows}\n\n{_table(('metric', 'value'), overall)}"
    if not subject.dataset.classes:
        return text
    rows = []
    for label, key in zip(subject.dataset.classes, class_keys(subject.dataset.classes), strict=True):
        figures = [f"{subject.metrics[f'{kind}/{key}']:.4g}" for kind in ("precision", "recall", "f1")]
        rows.append([str(label), str(int((subject.split.test_truth == label).sum())), *figures])
    return f"{text}\n\n{_table(('class', 'rows', 'precision', 'recall', 'f1'), rows)}"


def _slices(subject: Subject) -> Iterator[str]:
    """Yield figures for the rows with the same text or boolean: an average hides groups that are served badly."""
    rows = []
    sliced = [(index, one) for index, one in enumerate(subject.dataset.columns) if one.kind in ("category", "boolean")]
    metric = "accuracy" if subject.dataset.classes else "mae"
    for index, column in sliced[:_MOST_SLICED]:
        values = subject.split.test_rows[:, index]
        # Rows hold booleans as 0 and 1.
        names = values if column.is_text else np.where(pd.isna(values), NO_TEXT, np.where(values == 1, "true", "false"))
        levels, counts = np.unique(names.astype(str), return_counts=True)
        for level in levels[np.argsort(-counts, kind="stable")][:_MOST_SLICES]:
            chosen = names == level
            if chosen.sum() < _FEWEST_ROWS:
                continue
            truth = subject.split.test_truth[chosen]
            figure = measure(subject.scores[chosen], truth, subject.dataset.classes)[metric]
            rows.append(
                [column.name, "missing" if level == NO_TEXT else level, str(int(chosen.sum())), f"{figure:.4g}"]
            )
    if rows:
        yield f"## Slices of the {subject.rows}\n\n{_table(('column', 'value', 'rows', metric), rows)}"


def _importance(subject: Subject) -> Iterator[str]:
    if subject.twin is None:
        return
    metric = _importance_metric(subject)
    rows = [[name, f"{value:.4g}"] for name, value in permutation_importance(subject, subject.twin)[:_MOST_COLUMNS]]
    yield (
        f"## Importance of columns\n\nBy how much `{metric}` gets worse when the values of a column are shuffled among "
        "the rows. Columns with the same information share their importance.\n\n"
    ) + _table(("column", "worse by"), rows)


def _contributions(subject: Subject) -> Iterator[str]:
    if not subject.contributions:
        return
    what = "the probability of the answered label" if subject.dataset.classes else "the predicted number"
    rows = [[name, f"{value:.4g}"] for name, value in subject.contributions[:_MOST_COLUMNS]]
    yield (
        f"## Contributions of columns\n\nHow far the value of a column moves {what} from the mean answer, on average "
        f"over {subject.rows}, up or down (Shapley values, as `/explain` gives them for one row). Picture: "
        f"`{CONTRIBUTIONS_FILE}` of the run.\n\n"
    ) + _table(("column", "moves the answer by"), rows)


def _calibration(subject: Subject) -> str:
    truth = subject.split.test_truth
    if not subject.dataset.classes:
        off = np.quantile(subject.scores[:, 0] - truth, [0.05, 0.25, 0.5, 0.75, 0.95])
        names = ("5%", "25%", "50%", "75%", "95%")
        return (
            f"## Errors\n\nPredicted minus true, by quantile.\n\n{_table(names, [[f'{value:.4g}' for value in off]])}"
        )
    classes = np.asarray(subject.dataset.classes)
    probable, named = probabilities(subject.scores, len(classes)), places(subject.scores, len(classes))
    if probable is None:
        return "## Calibration\n\nThe model predicts classes without probabilities."
    sure = probable[np.arange(len(named)), named]
    right = classes[named] == truth
    rows, distance = [], 0.0
    for part in np.array_split(np.argsort(sure, kind="stable"), min(_BINS, len(sure))):
        said, seen = float(sure[part].mean()), float(right[part].mean())
        distance += abs(said - seen) * len(part) / len(sure)
        rows.append([f"{sure[part].min():.3f} to {sure[part].max():.3f}", str(len(part)), f"{said:.3f}", f"{seen:.3f}"])
    table = _table(("probability of the answer", "rows", "mean probability", "share that is right"), rows)
    return f"## Calibration\n\nMean distance of probability and share: {distance:.3f}.\n\n{table}"


def _gate(subject: Subject) -> str:
    rows = [
        [
            check.name,
            "" if check.figure is None else f"{check.figure:.4g}",
            "" if check.bound is None else f"{check.relation} {check.bound:.4g}",
            check.verdict,
            check.detail,
        ]
        for check in subject.report.checks
    ]
    return f"## Gate\n\n{_table(('check', 'figure', 'bound', 'verdict', 'detail'), rows)}"


def _limits(subject: Subject) -> str:
    lines = [
        "It was tested only on rows like those above.",
        *(
            f"`{_cell(one.name)}`: values that the table does not have are "
            + ("refused." if one.unknown == "refuse" else "accepted, and treated as rare ones.")
            for one in subject.dataset.columns
            if one.is_text
        ),
        *(_cell(note) for note in subject.notes),
    ]
    if not subject.readme:
        lines.append("Nobody has written down what it must not be used for: do so in a README.md in its folder.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
