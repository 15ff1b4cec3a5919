"""Record a report in MLflow: a new run each time, with figures, pictures, the report and what was not joined."""

from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import msgspec

from training.outcomes.pictures import pictures
from training.outcomes.refused import Refusals, write
from training.outcomes.report import Report
from training.tracking import Tracking

REPORT_FILE = "outcomes.json"
REFUSED_FILE = "refused.jsonl"


def experiment_of(service: str) -> str:
    """Return the name of the experiment for a service's outcomes, which is separate from those of its models."""
    return f"{service}-outcomes"


def record(tracking: Tracking, report: Report, refusals: Refusals) -> str:
    """Record a run, whose metrics are those of the version that answered last.

    Returns:
        The run's id.

    Raises:
        OutageError: MLflow or its store does not answer.
    """
    with tracking.run(experiment_of(report.service)) as run_id:
        mlflow.set_tags(_tags(report))
        mlflow.log_params({"log": report.log, "truth": " ".join(report.truth)[:500]})
        mlflow.log_metrics(figures(report))
        tracking.record_figures(pictures(report))
        mlflow.log_text(msgspec.json.format(msgspec.json.encode(report), indent=2).decode(), REPORT_FILE)
        with TemporaryDirectory(prefix="training-") as folder:
            path = Path(folder) / REFUSED_FILE
            write(refusals.listed, path)
            tracking.record_file(path)
    return run_id


def figures(report: Report) -> dict[str, float]:
    """Return the metrics of a run: counts, and the figures of the version that answered last."""
    found: dict[str, float] = {"logged": report.logged, "truths": report.truths, "joined": report.joined}
    found |= {f"refused/{reason}": count for reason, count in report.refused.items()}
    current = report.current
    if current is None:
        return found
    for name, figure in (current.realised.metrics if current.realised else {}).items():
        found[f"realised/{name}"] = figure.value
        if figure.lower is not None and figure.upper is not None:
            found |= {f"realised/{name}_lower": figure.lower, f"realised/{name}_upper": figure.upper}
    if current.estimated is not None:
        found["estimated/accuracy"] = current.estimated.accuracy.value
    return found | {f"held_out/{name}": value for name, value in current.held_out.items()}


def _tags(report: Report) -> dict[str, str]:
    current = report.current
    tags = {"service": report.service, "environment": report.environment}
    tags |= {"first_day": report.first_day or "", "last_day": report.last_day or ""}
    tags["mlflow.runName"] = f"{report.environment} {report.last_day or 'no rows'}"
    if current is not None:
        tags |= {"model": current.model, "version": current.version, "release": current.release or ""}
        tags |= {"digest": current.digest, "below_gate": ", ".join(current.below_gate)}
    return tags
