"""Data sources: a path, an object or folder of an S3 store, a web address, or a database."""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from msgspec import Struct

from training.addresses import is_address, is_database, shown
from training.errors import BadInputError
from training.settings import CsvSettings
from training.tables import Table, read_table, stem


class Source(Struct, frozen=True, eq=False):
    """A table that was read.

    Attributes:
        table: The table.
        shown: Its origin, safe to show and record: without a password or a signature.
        name: A short name, empty if the source has none.
        version: A version, an ETag or a hash, which distinguishes this content from a later one at the same place. It
            is empty for a path, because the data set has its own hash.
        times: The time of each row, in seconds since 1970, shape [rows], if the source has them.
    """

    table: Table
    shown: str
    name: str
    version: str = ""
    times: np.ndarray | None = None


def read_source(
    data: str, query: str | None, csv: CsvSettings, target: str | None = None, texts: Collection[str] = ()
) -> Source:
    """Read a table from a path or an address.

    Args:
        data: A path, or an address: s3://, https:// or http://, or a database's in SQLAlchemy's form.
        query: The SQL query that selects the rows, for a database.
        csv: How a CSV file is written.
        target: The column to predict, which is kept even if it is a stored index.
        texts: Columns of a CSV file to read as text, whatever their values look like.

    Raises:
        BadInputError: There is no such data, access is denied, or it is not a table.
        OutageError: The source does not answer.
    """
    if not is_address(data):
        _refuse_query(data, query)
        path = Path(data)
        return Source(read_table(path, csv, target, texts), data, stem(path))
    scheme = urlsplit(data).scheme.lower()
    if scheme == "s3" or scheme in ("http", "https"):
        _refuse_query(shown(data), query)
        return _fetched(data, scheme, csv, target, texts)
    if not is_database(data):
        raise BadInputError(
            f"--data: {shown(data)!r} is not a known kind of address: use a path, s3://BUCKET/KEY, https://..., or a "
            "database such as postgresql+psycopg://HOST/DATABASE."
        )
    from training.database import read_database  # noqa: PLC0415 # only databases need SQLAlchemy's dialects

    frame, version, notes = read_database(data, query)
    return Source(Table(frame, notes), shown(data), "", version)


def _fetched(data: str, scheme: str, csv: CsvSettings, target: str | None, texts: Collection[str]) -> Source:
    from training import objects, web  # noqa: PLC0415 # boto3 takes a while to load

    with _folder() as folder:
        fetched = objects.fetch(data, folder) if scheme == "s3" else web.fetch(data, folder)
        title = shown(data)
        # Errors and notes must name the address, not the temporary file.
        try:
            table = read_table(fetched.path, csv, target, texts)
        except BadInputError as error:
            raise BadInputError(str(error).replace(str(fetched.path), title)) from error
        notes = tuple(note.replace(str(fetched.path), title) for note in table.notes)
        return Source(Table(table.frame, notes), title, stem(fetched.path), fetched.version)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="training-data-") as folder:
        yield Path(folder)


def _refuse_query(data: str, query: str | None) -> None:
    if query is not None:
        raise BadInputError(f"--query: {data} is not a database; `query` selects rows of a database.")
