"""The steps of `training outcomes`, in their order."""

from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from training.addresses import named
from training.errors import BadInputError
from training.outcomes.files import Days
from training.outcomes.join import joined
from training.outcomes.known import known_of
from training.outcomes.pushing import push
from training.outcomes.recording import record
from training.outcomes.refused import Refusal, write
from training.outcomes.report import Asked, Report, report_of, versions_of
from training.outcomes.truth import TruthColumns
from training.settings import CsvSettings
from training.steps import Steps
from training.tracking import Tracking


class Work(Struct, frozen=True, kw_only=True):
    """What to do, by the options of the command."""

    service: str
    environment: str
    log: str
    truth: tuple[str, ...]
    query: str | None = None
    request_id: str = "request_id"
    row: str = "row"
    target: str = "truth"
    days: int = 30
    slices: tuple[str, ...] = ()
    refused: Path | None = None
    record: bool = True
    push: str | None = None
    namespace: str = ""
    tracking_uri: str | None = None


class Done(Struct, frozen=True):
    """The report, and the run that recorded it."""

    report: Report
    run_id: str | None


def work(asked: Work, steps: Steps) -> Done:
    """Join, measure, and report.

    Raises:
        BadInputError: The log or the truth cannot be used.
        OutageError: The store, MLflow or the Pushgateway does not answer.
    """
    tracking = Tracking(asked.tracking_uri)
    tracking.check()
    log = f"{asked.log.rstrip('/')}/{asked.environment}/{asked.service}"
    with steps.step("join") as step:
        found = joined(
            log, asked.truth, query=asked.query, columns=TruthColumns(asked.request_id, asked.row, asked.target),
            csv=CsvSettings(), days=Days.until(datetime.now(UTC).date(), asked.days),
        )  # fmt: skip
        step.outcome = f"{len(found.answers)} of {found.truths} truths, {found.logged} rows in the log"
    with steps.step("measure") as step:
        known = known_of(tracking, versions_of(found))
        about = Asked(asked.service, asked.environment, named(log), tuple(map(named, asked.truth)))
        report = report_of(about, found, known, asked.slices)
        step.outcome = f"{len(report.versions)} versions"
    registered = {version.digest for version in known}
    for version in report.versions:
        if version.digest not in registered:
            steps.note(
                f"{version.title}: MLflow at {tracking.address} has no version with its digest, so its gate is not "
                "known."
            )
    if found.refusals.unlisted:
        steps.note(
            f"{found.refusals.unlisted} truths that were not joined are counted but not listed, because they are too "
            "many."
        )
    if asked.refused is not None:
        _written(found.refusals.listed, asked.refused)
    run_id = None
    if asked.record:
        with steps.step("record") as step:
            run_id = record(tracking, report, found.refusals)
            step.outcome = f"run {run_id}"
    if asked.push is not None:
        with steps.step("push") as step:
            push(report, asked.push, asked.namespace)
            step.outcome = asked.push
    return Done(report, run_id)


def _written(refusals: list[Refusal], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(refusals, path)
    except OSError as error:
        raise BadInputError(f"--refused: {path} cannot be written ({error.strerror or error}).") from error
