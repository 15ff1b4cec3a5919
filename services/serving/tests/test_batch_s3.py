"""Uploads of batch scoring to S3 that fail. tests/integration/test_scoring.py uses a real store."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from serving.batch import s3
from serving.batch.s3 import S3Place
from serving.errors import StoreUnavailableError


class Gone:
    """A client whose store is gone after the upload has begun."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.aborted: list[str] = []

    def create_multipart_upload(self, **_: str) -> dict[str, str]:
        return {"UploadId": "some-id"}

    def upload_part(self, **_: Any) -> dict[str, str]:
        raise self._error

    def abort_multipart_upload(self, **upload: str) -> None:
        self.aborted.append(upload["UploadId"])
        raise EndpointConnectionError(endpoint_url="http://s3")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (EndpointConnectionError(endpoint_url="http://part"), StoreUnavailableError),
    ],
)
def test_an_upload_that_cannot_be_aborted_keeps_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: type[BaseException]
) -> None:
    monkeypatch.setattr(s3, "_PART", 1)
    (tmp_path / "answers").write_bytes(b"xyz")
    client = Gone(error)
    with pytest.raises(expected) as caught:
        S3Place(client, "s3://bucket/out").publish(tmp_path / "answers", "one.parquet")
    assert client.aborted == ["some-id"]
    assert expected is KeyboardInterrupt or "http://part" in str(caught.value)
