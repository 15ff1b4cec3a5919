"""A prediction log with its truth, as a table to learn from."""

from datetime import UTC, datetime

import numpy as np

from modelformat.logged import SAMPLE
from training.addresses import named
from training.errors import BadInputError
from training.outcomes.files import Days, EmptyLogError, log_files
from training.outcomes.join import Joined, joined
from training.outcomes.truth import TruthColumns
from training.settings import CsvSettings, OutcomesSettings
from training.sources import Source
from training.tables import Table

# The column with the time of each request. `split: {time: logged_at}` holds out rows by it.
LOGGED_AT = "logged_at"
_MOST_REASONS = 3


def read_outcomes(log: str, target: str, known: OutcomesSettings, csv: CsvSettings, *, timed: bool) -> Source | None:
    """Read the randomly sampled rows of a log whose truth is known, the oldest first.

    Args:
        log: The log of one service: `s3://BUCKET/ENVIRONMENT/SERVICE`, or a folder.
        target: The name to give the column with the truth.
        known: Where the truth is.
        csv: How CSV files of truth are written.
        timed: Whether to include the times of the requests as a column.

    Returns:
        The table; None if there are too few rows and the settings name data to use until then.

    Raises:
        BadInputError: The log or the truth cannot be used, or too few rows have a truth.
        OutageError: A source does not answer.
    """
    days = Days.until(datetime.now(UTC).date(), known.days) if known.days else Days()
    try:
        # Checked first, because before the first request there may be no truth either.
        next(log_files(log, days), None)
    except EmptyLogError:
        if known.start:
            return None
        raise
    columns = TruthColumns(known.id, known.row, known.column)
    found = joined(log, known.truth, query=known.query, columns=columns, csv=csv, days=days)
    by_chance = (found.answers["reason"] == SAMPLE).to_numpy()
    rows = int(by_chance.sum())
    title = named(log)
    if rows < known.rows:
        if known.start:
            return None
        raise BadInputError(
            f"{title}: {rows} rows have a truth, but outcomes.rows requires {known.rows}.{_not_joined(found)} "
            "Set outcomes.start to the data to use until then."
        )
    table = found.table(target)[by_chance].reset_index(drop=True)
    moments = found.answers["time"][by_chance]
    times = moments.astype("int64").to_numpy() / _per_second(moments.dtype)
    if timed:
        table.insert(0, LOGGED_AT, times)
    notes = tuple(f"{title}:{text}" for text in (_not_joined(found),) if text)
    version = f"{rows} rows, {moments.iloc[0]:%Y-%m-%dT%H:%M:%SZ} to {moments.iloc[-1]:%Y-%m-%dT%H:%M:%SZ}"
    return Source(Table(table, notes), title, "", version, times)


def _per_second(kind: object) -> float:
    """Return how many units of a type of times make a second."""
    return float(np.timedelta64(1, "s") / np.timedelta64(1, getattr(kind, "unit", "ns")))


def _not_joined(found: Joined) -> str:
    """Return a sentence about what was not joined, with a space before it; empty if everything was."""
    if not found.refused:
        return ""
    most = sorted(found.refusals.counts.items(), key=lambda pair: -pair[1])[:_MOST_REASONS]
    told = ", ".join(f"{reason} {count}" for reason, count in most)
    return f" {found.refused} of {found.truths} truths were not joined ({told}): `training outcomes` lists them."
