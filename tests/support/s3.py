"""What tests need to know about an S3 store: its address, and the keys of the pipeline's users."""

import secrets
from collections.abc import Mapping
from typing import Any

import boto3
import msgspec
from botocore.config import Config

USERS = ("root", "mlflow", "serving", "backup", "predictions")


class Target(msgspec.Struct, frozen=True):
    """A store with versioned buckets for models, buckets for backups and logs, and the keys of its users."""

    name: str
    url: str
    users: dict[str, dict[str, str]]
    """`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` by user."""
    models: str = "mlflow"
    backups: str = "backups"
    predictions: str = "predictions"

    def client(self, user: str) -> Any:
        """Return a boto3 client with the keys of a user, without retries."""
        return client(self.url, self.users[user])


def client(url: str, values: Mapping[str, str]) -> Any:
    """Return a boto3 client with these keys, without retries."""
    once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", config=once,
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"], aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


def random_keys() -> dict[str, str]:
    """Return a random pair of keys, as bootstrap makes them."""
    return {"AWS_ACCESS_KEY_ID": secrets.token_hex(10).upper(), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
