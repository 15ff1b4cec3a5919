"""Proves that data is read from folders, the web and databases, within limits, and without showing secrets."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from training.addresses import save, shown
from training.data import load_dataset
from training.errors import BadInputError, OutageError
from training.web import file_name

Blobs = Callable[..., pd.DataFrame]


class Site(BaseHTTPRequestHandler):
    """A server of the files of a folder, which also serves them under names without a suffix."""

    folder: Path

    def do_GET(self) -> None:
        name = self.path.split("?")[0].lstrip("/")
        if name == "broken.csv":
            self.send_error(503)
            return
        path = self.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        if name == "large.csv":
            self.send_header("Content-Length", str(2 << 30))
        if name.startswith("encoded"):
            self.send_header("Content-Encoding", "gzip")
        self.send_header("ETag", f'"{name}-1"')
        self.end_headers()
        self.wfile.write(path.read_bytes())

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Site,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def database(tmp_path: Path, blobs: pd.DataFrame) -> str:
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = sa.create_engine(address)
    blobs.to_sql("blobs", engine, index=False)
    engine.dispose()
    return address


def test_a_folder_is_one_table_with_its_inner_folders_as_a_column(tmp_path: Path, blobs: pd.DataFrame) -> None:
    for year, part in ((2023, blobs[::2]), (2024, blobs[1::2].assign(extra=1.5))):
        inner = tmp_path / "blobs" / f"year={year}"
        inner.mkdir(parents=True)
        part.to_parquet(inner / "part-0.parquet", index=False)
    (tmp_path / "blobs" / "_SUCCESS").touch()

    found = load_dataset(str(tmp_path / "blobs"), "kind")

    assert (found.name, len(found.rows)) == ("blobs", len(blobs))
    assert [(column.name, column.kind, column.optional) for column in found.columns] == [
        ("a", "number", False), ("b", "number", False), ("year", "integer", False), ("extra", "number", True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["plain.csv.gz", "encoded.csv.gz", "encoded.csv"])
def test_a_compressed_file_is_read_whatever_the_server_calls_it(
    name: str, site: str, tmp_path: Path, blobs: pd.DataFrame
) -> None:
    blobs.to_csv(tmp_path / "site" / name, index=False, compression="gzip")
    found = load_dataset(f"{site}/{name}", "kind")
    assert (found.name, len(found.rows)) == (name.partition(".")[0], len(blobs))


def test_a_folder_without_parquet_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match=r"empty: the folder has no Parquet files"):
        load_dataset(str(tmp_path / "empty"), "kind")


@pytest.mark.parametrize("name", ["blobs.csv", "blobs.parquet", "download"])
def test_a_web_file_gives_the_same_table_as_a_path(name: str, site: str, tmp_path: Path, blobs: pd.DataFrame) -> None:
    path = tmp_path / "site" / name
    if name.endswith(".csv"):
        blobs.to_csv(path, index=False)
    else:
        blobs.to_parquet(path, index=False)

    found = load_dataset(f"{site}/{name}?signature=hidden", "kind")

    assert (found.source, found.name) == (f"{site}/{name}", name.removesuffix(".csv").removesuffix(".parquet"))
    assert len(found.rows) == len(blobs)
    assert found.version.startswith(f"etag {name}-1, sha256 ")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("none.csv", BadInputError, "answers 404"),
        ("broken.csv", OutageError, "answers 503"),
        ("large.csv", BadInputError, "larger than the"),
        ("wrong.parquet", BadInputError, "wrong.parquet: not a Parquet file"),
        ("page", BadInputError, "page: a data file ends in"),
    ],
)
def test_errors_of_fetching_name_the_address(
    name: str, kind: type[Exception], words: str, site: str, tmp_path: Path
) -> None:
    for file in ("large.csv", "wrong.parquet", "page"):
        (tmp_path / "site" / file).write_text("<html>" * 20)
    with pytest.raises(kind, match=words) as caught:
        load_dataset(f"{site}/{name}?token=hidden", "kind")
    assert str(caught.value).startswith(f"{site}/{name}:")
    assert "hidden" not in str(caught.value)
    assert "training-data-" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b%20c.csv", "b c.csv"),
        ("", "data"),
        ("/a/..", "data"),
        ("/%2e%2e", "data"),
        ("/a%2Fb%00.csv", "a_b_.csv"),
        (f"/{'x' * 300}.csv", f"{'x' * 56}.csv"),
    ],
)
def test_the_name_of_a_download_is_a_valid_file_name(path: str, name: str, tmp_path: Path) -> None:
    assert file_name(f"https://h{path}?token=hidden") == name
    (tmp_path / name).write_text("")


def test_a_download_without_a_size_is_limited_while_it_runs(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"http://h/a\.csv: larger than"):
        save([b"x" * 60, b"x" * 60], tmp_path / "a.csv", "http://h/a.csv", room=100)
    assert (tmp_path / "a.csv").stat().st_size == 60


def test_a_server_that_is_down_is_an_outage() -> None:
    with pytest.raises(OutageError, match=r"http://127.0.0.1:9/a.csv: cannot be fetched"):
        load_dataset("http://127.0.0.1:9/a.csv?token=hidden", "kind")


def test_the_rows_of_a_query_are_read(database: str) -> None:
    found = load_dataset(database, "kind", query="SELECT * FROM blobs ORDER BY a")
    assert (found.source, len(found.rows), found.features) == (database, 60, ("a", "b"))
    assert found.version.startswith("query sha256 ")
    assert found.notes == ()


def test_a_query_without_an_order_is_reported(database: str) -> None:
    (note,) = load_dataset(database, "kind", query="SELECT * FROM blobs").notes
    assert "no ORDER BY" in note


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (None, "must select the rows"),
        ("SELECT nothing FROM blobs", "refuses the query"),
        ("SELECT * FROM blobs WHERE a > 1e9", "returns no rows"),
        ("DELETE FROM blobs", "must be a SELECT"),
        ("SELECT a, a, kind FROM blobs", "column 'a' occurs more than once"),
    ],
)
def test_a_query_that_gives_no_table_is_refused(database: str, query: str | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        load_dataset(database, "kind", query=query)
    assert len(load_dataset(database, "kind", query="SELECT * FROM blobs ORDER BY a").rows) == 60


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql+psycopg://me:secret@db/shop", "DATA_PASSWORD"),
        ("https://me:secret@example.com/a.csv", "DATA_PASSWORD"),
        ("ftp://me:secret@example.com/a.csv", "is not a known kind of address"),
        ("postgresql+nothing://db/shop", "this database or driver"),
        ("s3://bucket", "not of the form s3://BUCKET/KEY"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address: str, words: str) -> None:
    query = "SELECT 1 ORDER BY 1" if address.startswith("postgresql") else None
    with pytest.raises(BadInputError, match=words) as caught:
        load_dataset(address, "kind", query=query)
    assert "secret" not in str(caught.value)


def test_a_query_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--query: .* is not a database"):
        load_dataset("iris", query="SELECT 1")


def test_shown_addresses_have_no_secrets() -> None:
    assert shown("postgresql+psycopg://me:pw@db:5432/shop?sslmode=require") == "postgresql+psycopg://me@db:5432/shop"
    assert shown("https://h/a.csv?X-Amz-Signature=1") == "https://h/a.csv"
    assert shown("s3://b/a.csv?versionId=7") == "s3://b/a.csv?versionId=7"


def test_reading_a_database_has_a_time_limit(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.database.MOST_SECONDS", -1)
    with pytest.raises(OutageError, match=r"shop.db: not read after -1 s"):
        load_dataset(database, "kind", query="SELECT * FROM blobs ORDER BY a")
