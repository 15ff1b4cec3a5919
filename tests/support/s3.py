"""What tests ask of an S3 store, whichever it is: its address, and the keys of the pipeline's users."""

import secrets
from collections.abc import Mapping
from typing import Any

import boto3
import msgspec
from botocore.config import Config

USERS = ("root", "mlflow", "serving", "backup", "predictions")


class Target(msgspec.Struct, frozen=True):
    """A store with the buckets of models, which keeps versions, of backups and of logs, and who may do what there."""

    name: str
    url: str
    users: dict[str, dict[str, str]]
    """By user, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`."""
    models: str = "mlflow"
    backups: str = "backups"
    predictions: str = "predictions"

    def client(self, user: str) -> Any:
        """A boto3 client with the keys of a user, which asks once."""
        return client(self.url, self.users[user])


def client(url: str, values: Mapping[str, str]) -> Any:
    """A boto3 client with these keys, which asks once."""
    once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", config=once,
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"], aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def random_keys() -> dict[str, str]:
    """A random pair, as bootstrap makes them."""
    return {"AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
