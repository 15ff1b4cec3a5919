"""Real servers for the tests across parts; each is started once, when the first test needs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.processes import Server
from embedded.servers import mlflow_server
from tests.integration.stores import BUCKET, S3Store, begin_postgres, postgres, s3_server
from tests.support.mlflow_tables import make_tables, with_tables
from tests.support.once import made_once


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """An S3 store with the bucket `mlflow`."""
    server, store = s3_server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        server.wait_ready()
        store.client(store.writer).create_bucket(Bucket=BUCKET)
        yield store
    finally:
        server.kill()  # a normal stop waits 15 s to hand over to other nodes, and there are none


@pytest.fixture(scope="session")
def postgres_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SQLAlchemy address of a PostgreSQL database with MLflow's tables, which are empty."""
    begun = made_once(tmp_path_factory, "postgres", lambda folder: begin_postgres(folder, make_tables))
    with postgres(begun) as uri:
        yield uri


@pytest.fixture(scope="session")
def mlflow_proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow as `make demo` starts it: SQLite, and artifacts through the server."""
    folder = with_tables(tmp_path_factory, tmp_path_factory.mktemp("mlflow-proxied"))
    with mlflow_server(folder) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_on_s3(tmp_path_factory: pytest.TempPathFactory, s3: S3Store, postgres_uri: str) -> Iterator[Server]:
    """MLflow as in the cluster: metadata in Postgres, and clients that use S3 directly."""
    folder: Path = tmp_path_factory.mktemp("mlflow-s3")
    with mlflow_server(
        folder,
        backend=postgres_uri,
        artifacts=f"s3://{BUCKET}",
        proxied=False,
        environment=s3.environment(s3.writer),
    ) as server:
        yield server
