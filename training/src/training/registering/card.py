"""The model card of a model that was made elsewhere."""

import msgspec

from modelformat.baseline import Baseline
from training.card import Subject
from training.contributions import mean_contributions
from training.data import Dataset
from training.gate import GateReport
from training.onnx_twin import Twin
from training.registering.gate import measured, scores_of
from training.registering.messages import TWIN_FILE
from training.registering.opening import Opened
from training.split import Split


def subject_of(
    name: str,
    release: str,
    run_id: str,
    readme: str,
    dataset: Dataset,
    opened: Opened,
    report: GateReport,
) -> Subject:
    """Return the subject of the card, with figures on all rows of the table: the training rows are not known.

    Args:
        name: The registered model.
        release: The version's release, empty if the gate refused it.
        run_id: The version's run.
        readme: The path of the owner's README, empty if there is none.
        dataset: The rows that the model answered.
        opened: The model's answers.
        report: The gate's report.
    """
    outcome, nothing = opened.outcome, dataset.rows[:0]
    twin = Twin(opened.folder / TWIN_FILE, outcome.labels) if outcome.form == "onnx" else None
    return Subject(
        name=name,
        model=outcome.kind,
        release=release,
        run_id=run_id,
        dataset=dataset,
        split=Split(nothing, dataset.truth[:0], dataset.rows, dataset.truth),
        twin=twin,
        scores=scores_of(opened.answers, len(dataset.rows)),
        metrics=measured(opened.answers, dataset),
        quantile=None,
        report=report,
        notes=(*dataset.notes, *outcome.notes),
        readme=readme,
        learnt="which it may have learned from",
    )


def with_contributions(subject: Subject, baseline: Baseline) -> Subject:
    """Return a subject with the contribution of each column on these rows, if there is a graph that can run."""
    if subject.twin is None:
        return subject
    columns, classes = subject.dataset.columns, subject.dataset.classes
    found = mean_contributions(subject.twin, columns, classes, baseline, subject.split.test_rows)
    return msgspec.structs.replace(subject, contributions=found)
