"""A table with text and missing values, in the store and in the Postgres of the releases."""

import csv
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.e2e.charts.stack import BUCKET, TABLES_LOGIN, Stack

MODEL = "penguins"
_FILE = Path(__file__).resolve().parents[3] / "models" / MODEL / "penguins.csv"
_KEY = "tables/penguins.csv"
_DATABASE, _READER = "tables", "tables_reader"


class Place(msgspec.Struct, frozen=True):
    """The place of a table in training.yaml: `data`, and `query` for a database."""

    name: str
    data: str
    query: str | None = None

    @property
    def changes(self) -> dict[str, str]:
        """Return the differences from the model's own file."""
        said = {"data": self.data, "name": self.name}
        return {**said, "query": self.query} if self.query else said


@contextmanager
def tables(stack: Stack) -> Iterator[tuple[Place, Place]]:
    """Yield the table in the store and in a separate database with a login that may read it. Remove both afterwards."""
    text, password = _FILE.read_text(encoding="utf-8"), secrets.token_hex(16)
    header, *rows = csv.reader(text.splitlines())
    names = ", ".join(header)
    login = {"USERNAME": _READER, "PASSWORD": password}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": TABLES_LOGIN, "namespace": stack.platform}}
    stack.kube.apply([{**secret, "stringData": login}])
    stack.put_object(_KEY, text)
    try:
        stack.sql(f"CREATE ROLE {_READER} LOGIN PASSWORD '{password}'")
        stack.sql(f"CREATE DATABASE {_DATABASE}")
        kinds = ", ".join(f"{name} {_kind([row[place] for row in rows])}" for place, name in enumerate(header))
        values = ", ".join(f"({', '.join(map(_literal, row))})" for row in rows)
        stack.sql(
            f"CREATE TABLE birds (id serial, {kinds}); INSERT INTO birds ({names}) VALUES {values}; "  # noqa: S608  its own
            f"GRANT SELECT ON birds TO {_READER}",
            database=_DATABASE,
        )
        yield (
            Place("penguins-of-the-store", f"s3://{BUCKET}/{_KEY}"),
            Place(
                "penguins-of-the-database",
                f"postgresql+psycopg://postgres.{stack.platform}:5432/{_DATABASE}",
                f"SELECT {names} FROM birds ORDER BY id",  # noqa: S608  as above
            ),
        )
    finally:
        stack.sql(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
        stack.sql(f"DROP ROLE IF EXISTS {_READER}")
        stack.put_object(_KEY, "")


def _kind(texts: list[str]) -> str:
    try:
        numbers = [float(text) for text in texts if text not in ("", "NA")]
    except ValueError:
        return "text"
    return "integer" if all(number.is_integer() for number in numbers) else "double precision"


def _literal(text: str) -> str:
    return "NULL" if text in ("", "NA") else "'" + text.replace("'", "''") + "'"
