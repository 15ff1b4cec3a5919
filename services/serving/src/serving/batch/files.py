"""Files of rows, read and written with a bounded number of rows in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from serving.batch.errors import FileError
from serving.batch.text import Chunk, read_csv
from serving.columns import Column

Format = Literal["parquet", "csv"]
SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz")
_ROWS = 65_536
# With many columns, fewer rows are read at a time.
_MOST_VALUES = 4_000_000
_GROUP_BYTES = 32 << 20


def stem(name: str) -> str:
    """Return the name of a file of rows without the suffix of its format."""
    lower = name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name


def is_table(name: str) -> bool:
    """Return whether a name is that of a file of rows."""
    return name.lower().endswith(SUFFIXES)


def read_table(path: Path, columns: tuple[Column, ...], separator: str) -> Iterator[Chunk]:
    """Read a file in the format that its name says.

    Raises:
        FileError: if it does not have that format.
    """
    if path.name.lower().endswith((".csv", ".csv.gz")):
        yield from read_csv(path, columns, separator)
        return
    at = 1
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise FileError("two of its columns have the same name, so they cannot be told apart")
            rows = max(1000, min(_ROWS, _MOST_VALUES // max(1, len(names))))
            for batch in file.iter_batches(rows, use_threads=False):
                yield Chunk(range(at, at + batch.num_rows), batch, batch)
                at += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise FileError(f"it cannot be read as Parquet after row {at} ({told})") from None


class TableWriter:
    """Writes tables of one schema into a file. It keeps a bounded amount in memory until a row group is full."""

    def __init__(self, path: Path, form: Format, schema: pa.Schema) -> None:
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self.rows = 0
        self._writer: Any = (
            pq.ParquetWriter(path, schema, compression="zstd")
            if form == "parquet"
            else csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="needed"))
        )

    def write(self, columns: list[pa.Array]) -> None:
        """Add rows."""
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self.rows += batch.num_rows
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows, and close the file."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Close a file that is not needed."""
        self._held = []
        self._writer.close()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held, self._schema))
        self._held, self._bytes = [], 0


class SideFile:
    """A file of the rows that were not answered. Each line is a JSON object with number, reason and values."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.first: list[str] = []
        self._file: Any = None

    def write(self, number: int, reason: str, values: Any) -> None:
        """Add a row. `values` is a dictionary by column, or the text of a line that is not a row."""
        if self._file is None:
            self._file = self.path.open("wb")
        self.rows += 1
        if len(self.first) < 3:
            self.first.append(f"row {number}: {reason}")
        line = {"row": number, "reason": reason, "values": values}
        self._file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()


@contextmanager
def writing(path: Path, form: Format, schema: pa.Schema) -> Iterator[TableWriter]:
    """Yield a writer of a table. The file is complete at the end, unless there was an error."""
    try:
        writer = TableWriter(path, form, schema)
    except (pa.ArrowException, NotImplementedError) as error:
        raise FileError(f"its columns cannot be written as {form} ({error}); --keep selects columns") from None
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise
    writer.close()


def rows_that(fit: "np.ndarray[Any, np.dtype[np.bool_]]", arrays: list[pa.Array]) -> list[pa.Array]:
    """Return the rows of each column that fit."""
    if fit.all():
        return arrays
    mask = pa.array(fit)
    return [array.filter(mask) for array in arrays]
