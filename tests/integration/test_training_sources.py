"""Proves that training reads from an S3 store and from Postgres as in the cluster, and records the data's version."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from embedded.processes import Server, program
from tests.integration.stores import BUCKET, S3Store
from training.data import load_dataset
from training.errors import BadInputError

PENGUINS = Path(__file__).parents[2] / "models" / "penguins"
FILE = f"s3://{BUCKET}/tables/penguins.csv"
QUERY = "SELECT * FROM penguins ORDER BY row"


@pytest.fixture(scope="module")
def stored(s3: S3Store) -> str:
    """Store the table as one object and as a folder of Parquet objects, and return the object's ETag."""
    store = s3.client(s3.writer)
    path = PENGUINS / "penguins.csv"
    put = store.put_object(Bucket=BUCKET, Key="tables/penguins.csv", Body=path.read_bytes())
    for island, part in pd.read_csv(path).groupby("island"):
        body = part.drop(columns="island").to_parquet(index=False)
        store.put_object(Bucket=BUCKET, Key=f"tables/parts/island={island}/0.parquet", Body=body)
    return str(put["ETag"]).strip('"')


@pytest.fixture
def keys(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(s3.reader).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def login(postgres_uri: str) -> dict[str, str]:
    """A database user who can read only the table, as environment variables."""
    engine = sa.create_engine(postgres_uri, isolation_level="AUTOCOMMIT")
    table = pd.read_csv(PENGUINS / "penguins.csv")
    table.assign(row=range(len(table))).to_sql("penguins", engine, index=False)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE reader LOGIN PASSWORD 'only-reads'")
        connection.exec_driver_sql("GRANT SELECT ON penguins TO reader")
    engine.dispose()
    return {"DATA_USERNAME": "reader", "DATA_PASSWORD": "only-reads"}


def address(postgres_uri: str) -> str:
    """The database's address without a user."""
    return sa.make_url(postgres_uri)._replace(username=None, password=None).render_as_string(hide_password=False)


def run(mlflow: Server, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("training"), "run", "--target", "species", "--cv", "0", "--json", *arguments],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.url, **environment},
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip


def recorded(mlflow: Server, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return dict(MlflowClient(mlflow.url).get_run(json.loads(done.stdout)["run_id"]).data.params)


def test_an_object_is_read_and_its_version_recorded(mlflow_on_s3: Server, s3: S3Store, stored: str) -> None:
    params = recorded(mlflow_on_s3, run(mlflow_on_s3, s3.environment(s3.writer), "--data", FILE))
    assert (params["data"], params["data_version"], params["rows"]) == (FILE, f"etag {stored}", "344")


def test_a_query_is_read_and_no_password_recorded(
    mlflow_on_s3: Server, s3: S3Store, postgres_uri: str, login: dict[str, str]
) -> None:
    data = address(postgres_uri)
    arguments = ["--data", data, "--query", QUERY, "--name", "from-postgres"]
    done = run(mlflow_on_s3, {**s3.environment(s3.writer), **login}, *arguments)
    params = recorded(mlflow_on_s3, done)
    assert (params["data"], params["query"], params["rows"]) == (data.partition("?")[0], QUERY, "344")
    assert "only-reads" not in str(params) + done.stdout + done.stderr


@pytest.mark.usefixtures("keys", "stored")
def test_a_folder_of_objects_is_one_table() -> None:
    found = load_dataset(f"s3://{BUCKET}/tables/parts/", "species")
    assert (len(found.rows), set(found.features)) == (
        344,
        set(pd.read_csv(PENGUINS / "penguins.csv").columns) - {"species"},
    )
    assert found.version.startswith("3 objects, sha256 ")


@pytest.mark.usefixtures("keys", "stored")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (f"s3://{BUCKET}/tables/none.csv", "this object does not exist"),
        ("s3://elsewhere/penguins.csv", "this object does not exist|these keys may not read it"),
        (f"s3://{BUCKET}/nothing/", "no Parquet object is below it"),
    ],
)
def test_missing_objects_are_named_by_their_address(data: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        load_dataset(data, "species")
    assert str(caught.value).startswith(f"{data}: ")


def test_refused_keys_are_reported(s3: S3Store, stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    # The keys for data override those of MLflow's store.
    monkeypatch.setenv("DATA_AWS_ACCESS_KEY_ID", "stranger")
    monkeypatch.setenv("DATA_AWS_SECRET_ACCESS_KEY", "not-a-key")
    with pytest.raises(BadInputError, match="these keys may not read it"):
        load_dataset(FILE, "species")


def test_a_query_that_writes_is_refused(
    postgres_uri: str, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInputError, match="refuses the query"):
        load_dataset(
            postgres_uri, "species", query="WITH gone AS (DELETE FROM penguins RETURNING *) SELECT * FROM gone"
        )
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    assert len(load_dataset(address(postgres_uri), "species", query=QUERY).rows) == 344


def test_an_unknown_database_is_bad_input(postgres_uri: str) -> None:
    elsewhere = sa.make_url(postgres_uri).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(BadInputError, match="refuses the login"):
        load_dataset(elsewhere, "species", query=QUERY)
