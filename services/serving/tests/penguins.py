"""Tables for the model of `mixed`, as files and in the form of a request."""

import datetime as dt
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from services.serving.tests import mixed


def penguins_table(rows: int, seed: int = 3) -> pa.Table:
    """Return rows with missing values, and a column `id` that the model does not know."""
    chance = np.random.default_rng(seed)
    seconds = mixed.SINCE + chance.integers(0, 100 * mixed.DAY, rows)
    return pa.table(
        {
            "id": np.arange(rows),
            "island": np.array(["Biscoe", "Dream", "Torgersen"])[chance.integers(0, 3, rows)],
            "bill (mm)": pa.array(chance.normal(44, 5, rows).round(1), mask=chance.random(rows) < 0.1),
            "sex": pa.array(np.array(["female", "male"])[chance.integers(0, 2, rows)], mask=chance.random(rows) < 0.1),
            "eggs": chance.integers(0, 4, rows),
            "ringed": pa.array(chance.random(rows) < 0.5, mask=chance.random(rows) < 0.3),
            "seen": pa.array(seconds * 1000, pa.timestamp("ms", "UTC")),
        }
    )


def csv_of(table: pa.Table) -> bytes:
    """Return the table as a CSV file without quotes, with times in ISO 8601."""
    moments = pc.strftime(table["seen"].cast(pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%SZ")
    texts = [moments if name == "seen" else table[name].cast(pa.string()) for name in table.column_names]
    sink = io.BytesIO()
    plain = pa.table([column.fill_null("") for column in texts], names=table.column_names)
    pa.csv.write_csv(plain, sink, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
    return ",".join(table.column_names).encode() + b"\n" + sink.getvalue()


def penguin_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as JSON values."""
    rows: list[dict[str, Any]] = table.drop_columns(["id"]).to_pylist()
    for row in rows:
        if isinstance(row["seen"], dt.datetime):
            row["seen"] = row["seen"].isoformat()
    return rows
