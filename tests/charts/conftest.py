"""Fixtures of the tests of the mlflow chart: one server for all, because its schema takes half a minute to build."""

from collections.abc import Iterator

import pytest

from embedded.processes import Server
from tests.charts.mlflow_release import Release
from tests.integration.stores import BUCKET, S3Store, postgres, s3_server


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    server, described = s3_server(tmp_path_factory.mktemp("s3"))
    with server:
        described.client(described.writer).create_bucket(Bucket=BUCKET)
        yield described


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, store: S3Store) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "run" / "mlflow").mkdir(parents=True)
    with postgres() as uri:
        yield Release(folder, uri, store)


@pytest.fixture(scope="session")
def server(release: Release) -> Iterator[Server]:
    with release.server() as running:
        yield running
