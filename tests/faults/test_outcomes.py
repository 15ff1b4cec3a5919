"""The store fails while the log is read: the join ends with a clear error, or is complete, and is never partial."""

import gzip
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from modelformat.logged import SUFFIX
from tests.faults.matrix import fault
from tests.faults.test_servers import proxied
from tests.integration.logged import LOG_BUCKET, Logged
from tests.integration.stores import S3Store
from tests.support.prediction_logs import DAY, line
from training.errors import OutageError
from training.outcomes.join import Joined, joined

FILES, ROWS = 5, 2000


@pytest.fixture
def address(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a log with some files, each of which a store sends in several pieces."""
    logged = Logged.below(s3, "faults/outcomes-")
    client = s3.client(s3.writer)
    for file in range(FILES):
        lines = [line(f"{file}-{row}", "setosa", probability=row / ROWS) for row in range(ROWS)]
        body = gzip.compress(msgspec.json.Encoder().encode_lines(lines))
        client.put_object(Bucket=LOG_BUCKET, Key=f"{logged.prefix}/date={DAY}/hour=12/{file}{SUFFIX}", Body=body)
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    return f"s3://{LOG_BUCKET}/{logged.prefix}"


def join(address: str, folder: Path) -> Joined:
    truth = folder / "truth.parquet"
    pd.DataFrame({"request_id": [f"{file}-0" for file in range(FILES)], "truth": "setosa"}).to_parquet(truth)
    return joined(address, [str(truth)])


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=fault(f"the log's store {title}", "the join ends with a clear error"), id=what)
        for what, title in (
            ("reset", "resets every connection while outcomes are joined"),
            ("cut", "disconnects in the middle of every answer while outcomes are joined"),
            ("unavailable", "answers 503 while outcomes are joined"),
            ("page", "answers with somebody's login page while outcomes are joined"),
        )
    ],
)
def test_a_log_that_cannot_be_read_is_an_outage(
    address: str, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with proxied(s3.url, tmp_path, what) as store:
        monkeypatch.setenv("DATA_S3_ENDPOINT_URL", store.url)
        with pytest.raises(OutageError, match="the store"):
            join(address, tmp_path)


@fault("the log's store resets every other connection while outcomes are joined", "every row is read, once")
def test_a_log_whose_connections_are_reset_is_read_completely(
    address: str, s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxied(s3.url, tmp_path, "flapping") as store:
        monkeypatch.setenv("DATA_S3_ENDPOINT_URL", store.url)
        found = join(address, tmp_path)
    assert (found.logged, len(found.answers), found.repeated) == (FILES * ROWS, FILES, 0)
