"""The command `training outcomes`."""

# ruff: noqa: PLC0415 # help must not wait for pandas and MLflow
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from training.options import Json, TrackingOptions
from training.report import Terminal

if TYPE_CHECKING:
    from training.outcomes.report import Report

_NO_TRACKING = TrackingOptions()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TruthOptions:
    """Where the truth is, and its columns."""

    truth: Annotated[list[str] | None, Parameter(negative="")] = None
    """A table of request ids and truths: a CSV, Parquet or JSON-lines file, s3://, https:// or a database's address;
    repeatable. Without one, only the truth that callers sent counts."""
    query: str | None = None
    """The SQL query that selects the rows of a database."""
    id: str = "request_id"
    """The column with the request's id."""
    row: str = "row"
    """The column with the row's number in its request, from 0; it may be absent if requests have one row."""
    target: str = "truth"
    """The column with the truth."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """What to read, and where to send the figures."""

    days: Annotated[int, Parameter(validator=Number(gte=1))] = 30
    """How many days of the log are read, including today."""
    slice: Annotated[list[str] | None, Parameter(negative="")] = None
    """A column whose values form slices; repeatable. [default: the version's text columns]"""
    refused: Path | None = None
    """A file for the truths that cannot be joined, as JSON lines with reasons."""
    record: Annotated[bool, Parameter(negative="--no-record")] = True
    """Write a run to MLflow."""
    push: str | None = None
    """Address of a Pushgateway to send the figures to, for Prometheus, such as http://HOST:9091."""
    namespace: str | None = None
    """The label `namespace` of the pushed figures; alerts find the service by it. [default: the environment]"""


_NONE, _AS_USUAL = TruthOptions(), ResultOptions()


def outcomes(
    service: str,
    /,
    known: TruthOptions = _NONE,
    how: ResultOptions = _AS_USUAL,
    tracking: TrackingOptions = _NO_TRACKING,
    *,
    environment: Annotated[str, Parameter(name=["--environment", "--env"])],
    log: str,
    json: Json = False,
) -> int:
    """Compare the answers of a service with the truth that came later (docs/outcomes.md).

    Args:
        service: The service whose prediction log is read.
        known: Where the truth is.
        how: What to read, and where to send the figures.
        tracking: Where MLflow is.
        environment: The environment.
        log: Where the logs are: s3://BUCKET or a folder. The command reads ENVIRONMENT/SERVICE in it.
        json: Print the result as JSON on the output stream.
    """
    terminal = Terminal()
    with terminal.step("start") as step:
        from importlib.metadata import version

        from training.outcomes.work import Work, work

        step.outcome = f"training {version('training')}"
    done = work(
        Work(
            service=service, environment=environment, log=log, truth=tuple(known.truth or ()), query=known.query,
            request_id=known.id, row=known.row, target=known.target, days=how.days, slices=tuple(how.slice or ()),
            refused=how.refused, record=how.record, push=how.push,
            namespace=how.namespace or environment, tracking_uri=tracking.tracking_uri,
        ),
        terminal,
    )  # fmt: skip
    if json:
        terminal.json(done.report)
    else:
        _show(terminal, done.report)
        terminal.facts("Recorded", {"run": done.run_id, "refused": str(how.refused) if how.refused else None})
    return 0


def _show(terminal: Terminal, report: "Report") -> None:
    from training.outcomes.wording import metric_rows, refused_rows, slice_rows

    terminal.rows(
        f"{report.service} in {report.environment}",
        ("version", "metric", "realised", "95 %", "rows", "estimated", "held out", "gate"),
        metric_rows(report),
    )
    slices = slice_rows(report)
    if slices:
        terminal.rows("Slices of the version that answered last", ("slice", "rows", "metrics"), slices)
    if report.refused:
        terminal.rows("Not joined", ("reason", "rows", "meaning"), refused_rows(report))
