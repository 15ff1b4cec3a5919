"""The prediction log of a serving process in a real store, for tests to read."""

import gzip
import json
import secrets
from collections import Counter
from typing import Any, Self

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from services.serving.tests.conftest import Bundle
from tests.integration.stores import S3Store

LOG_BUCKET = "predictions"


class Logged(msgspec.Struct, frozen=True):
    """The log of one process, below its own prefix."""

    s3: S3Store
    prefix: str

    @classmethod
    def below(cls, s3: S3Store, folder: str) -> Self:
        """Return a log with a new prefix, and create its bucket if there is none."""
        client = s3.client(s3.writer)
        if LOG_BUCKET not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=LOG_BUCKET)
        return cls(s3, f"{folder}{secrets.token_hex(4)}")

    def settings(self, **more: str) -> dict[str, str]:
        """Return settings that log every row at once, with separate keys for the log."""
        return {
            "PREDICTION_LOG": f"s3://{LOG_BUCKET}/{self.prefix}",
            "PREDICTION_LOG_SAMPLE": "1",
            "PREDICTION_LOG_SECONDS": "0.2",
            "PREDICTION_LOG_ACCESS_KEY_ID": self.s3.writer.access_key,
            "PREDICTION_LOG_SECRET_ACCESS_KEY": self.s3.writer.secret_key,
            "S3_ENDPOINT_URL": self.s3.url,
            "RETRY_MIN_SECONDS": "0.1",
            "RETRY_MAX_SECONDS": "0.3",
            **more,
        }

    def names(self) -> list[str]:
        """Return the names of the files."""
        pages = self.s3.client(self.s3.writer).get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=LOG_BUCKET, Prefix=f"{self.prefix}/")
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def lines(self) -> list[dict[str, Any]]:
        """Return the rows in all files."""
        client = self.s3.client(self.s3.writer)
        bodies = [client.get_object(Bucket=LOG_BUCKET, Key=key)["Body"].read() for key in self.names()]
        return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]


def pinned(bundle: Bundle) -> dict[str, str]:
    """Return settings that serve a model from a folder."""
    return bundle.pin(MLFLOW_TRACKING_URI="http://127.0.0.1:9")


def counts(client: httpx.Client) -> Counter[str]:
    """Return the process's metrics of its log: rows `written`, rows dropped by reason, and bytes."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            name = sample.name.removeprefix("serving_prediction_log_")
            if name != sample.name:
                found[sample.labels.get("reason", name.removesuffix("_total"))] += int(sample.value)
    return found
