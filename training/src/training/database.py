"""Data from a database: the rows of one query, read in parts."""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from training.addresses import (
    CONNECT_SECONDS,
    MOST_BYTES,
    MOST_SECONDS,
    READ_SECONDS,
    refuse_password,
    shown,
    too_large,
)
from training.csv_files import refuse_bad_names
from training.errors import BadInputError, OutageError
from training.tables import as_frame

_PART = 20_000
# Without these, a connection that is cut silently would block for as long as the kernel waits, which is hours.
_PATIENCE = {
    "connect_timeout": CONNECT_SECONDS, "keepalives_idle": READ_SECONDS, "keepalives_interval": 10,
    "keepalives_count": 3, "tcp_user_timeout": 2 * READ_SECONDS * 1000,
}  # fmt: skip
_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
# The messages of Postgres and MySQL about a failed login.
_LOGIN = ("password authentication failed", "no password supplied", "Access denied", "does not exist", "no pg_hba.conf")


def read_database(address: str, query: str | None) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """Read the rows of a query, in a read-only transaction if the database supports it.

    User and password come from the address (the user only), from `DATA_USERNAME` and `DATA_PASSWORD`, or from the
    driver's own variables, such as `PGUSER` and `PGPASSWORD`.

    Args:
        address: The database's address, in SQLAlchemy's form.
        query: The query.

    Returns:
        The table, a hash of the query, and remarks in sentences.

    Raises:
        BadInputError: The database refuses the login or the query, or there is too much to read.
        OutageError: The database does not answer.
    """
    title = shown(address)
    refuse_password(address)
    if not query or not query.strip():
        raise BadInputError(f"{title}: `query` (--query) must select the rows, in SQL and with an ORDER BY.")
    try:
        frame = _rows(_engine(address), query, title)
    except (SQLAlchemyError, ValueError, ModuleNotFoundError) as error:
        raise _told(error, title) from error
    if not len(frame):
        raise BadInputError(f"{title}: the query returns no rows.")
    notes = []
    if not _ORDERED.search(query):
        notes.append(
            f"{title}: the query has no ORDER BY, so the next run may get the rows in another order and hold out "
            "other rows."
        )
    return frame, f"query sha256 {hashlib.sha256(query.encode()).hexdigest()}", tuple(notes)


def _told(error: Exception, title: str) -> BadInputError | OutageError:
    text = _first_line(error)
    if isinstance(error, NoSuchModuleError):
        return BadInputError(f"--data: {title}: SQLAlchemy does not know this database or driver.")
    if isinstance(error, DBAPIError):
        # A database in a file cannot be down.
        if isinstance(error, OperationalError | InterfaceError) and not title.startswith("sqlite"):
            if any(words in text for words in _LOGIN):
                return BadInputError(f"{title}: the database refuses the login: {text}")
            return OutageError(f"{title}: the database does not answer: {text}")
        return BadInputError(f"{title}: the database refuses the query: {text}")
    return BadInputError(f"--data: {title} cannot be used: {text}")


def _engine(address: str) -> sa.Engine:
    url = sa.make_url(address)
    if url.username is None and os.environ.get("DATA_USERNAME"):
        url = url.set(username=os.environ["DATA_USERNAME"])
    if os.environ.get("DATA_PASSWORD"):
        url = url.set(password=os.environ["DATA_PASSWORD"])
    postgres = url.get_backend_name() == "postgresql"
    arguments = _PATIENCE if postgres else {}
    return sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=arguments, hide_parameters=True)


def _rows(engine: sa.Engine, query: str, title: str) -> pd.DataFrame:
    parts, size, started = [], 0, time.monotonic()
    with engine.connect() as connection:
        options: dict[str, Any] = {"stream_results": True, "max_row_buffer": _PART}
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)  # noqa: PLW2901 # the same connection
            connection.exec_driver_sql(f"SET statement_timeout = {MOST_SECONDS * 1000}")
        result = connection.execution_options(**options).exec_driver_sql(query)
        if not result.returns_rows:
            raise BadInputError(f"{title}: the query returns no rows; it must be a SELECT.")
        names = list(result.keys())
        refuse_bad_names(names, title)
        for rows in result.partitions(_PART):
            parts.append(pa.table([_array(column, title, name) for name, column in _columns(names, rows)], names=names))
            size += parts[-1].nbytes
            if size > MOST_BYTES:
                raise too_large(title)
            if time.monotonic() - started > MOST_SECONDS:
                raise OutageError(f"{title}: not read after {MOST_SECONDS} s.")
    if not parts:
        return pd.DataFrame(columns=names)
    try:
        return as_frame(pa.concat_tables(parts, promote_options="permissive"))
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{title}: a column holds values of different types ({_first_line(error)})") from error


def _columns(names: Sequence[str], rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    return [(name, [row[index] for row in rows]) for index, name in enumerate(names)]


def _array(values: list[Any], title: str, name: str) -> pa.Array:
    kinds = {type(value) for value in values}
    if Decimal in kinds:
        values = [float(value) if isinstance(value, Decimal) else value for value in values]
    if UUID in kinds:
        values = [str(value) if isinstance(value, UUID) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise BadInputError(
            f"{title}: column {name!r} cannot be read ({_first_line(error)}); cast it in the query."
        ) from error


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines() or [type(original).__name__]
    return f"{lines[0].rstrip('.')}."
