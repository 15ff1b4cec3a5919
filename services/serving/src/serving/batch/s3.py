"""Files of rows in a bucket: downloaded completely before they are read, and uploaded when they are complete."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, NoCredentialsError
from botocore.session import Session

from serving.batch.errors import FileError, InputChangedError
from serving.batch.places import Identity, Taken, temporary
from serving.errors import StoreUnavailableError

_CHUNK = 1 << 20
_PART = 32 << 20
_MOST_PARTS = 9_000
_ATTEMPTS = 5
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_CHANGED = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


def s3_client(endpoint_url: str, region: str, key: str = "", secret: str = "", ssl_cert_file: str = "") -> Any:
    """Create a client. Without a key it finds credentials as AWS' own tools do."""
    return Session().create_client(
        "s3",
        endpoint_url=endpoint_url or None,
        region_name=region or None,
        aws_access_key_id=key or None,
        aws_secret_access_key=secret or None,
        verify=ssl_cert_file or None,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            s3={"addressing_style": "path"} if endpoint_url else {},
        ),
    )


class S3Place:
    """The objects below a prefix of a bucket."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._bucket, _, prefix = address.removeprefix("s3://").partition("/")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.address = address.rstrip("/")

    def find(self) -> Iterator[str]:
        """Yield the names of all objects below the prefix."""
        with _told(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    if not entry["Key"].endswith("/"):
                        yield entry["Key"].removeprefix(self._prefix)

    def identity(self, name: str) -> Identity:
        """Request an object's size and ETag."""
        with _told(name):
            head = self._client.head_object(**self._at(name))
        return Identity(head["ContentLength"], etag=head["ETag"].strip('"'))

    @contextmanager
    def take(self, name: str) -> Iterator[Taken]:
        """Download an object. All of it has one ETag, so changes during the download are not read."""
        identity = self.identity(name)
        with temporary() as folder:
            path = folder / Path(name).name
            self._fetch(name, path, identity)

            def check() -> None:
                if self.identity(name) != identity:
                    raise InputChangedError("the object was replaced while it was read; score it again")

            yield Taken(path, identity, check)

    def _fetch(self, name: str, path: Path, identity: Identity) -> None:
        """Download an object. Continue from the last byte if a connection breaks."""
        with path.open("wb") as file, _told(name):
            for attempt in range(_ATTEMPTS):
                try:
                    while file.tell() < identity.bytes:
                        self._continue(name, file, identity)
                except (HTTPClientError, IncompleteReadError) as error:
                    if attempt == _ATTEMPTS - 1:
                        raise StoreUnavailableError(f"{name}: the download was cut off ({error})") from error
                else:
                    return

    def _continue(self, name: str, file: Any, identity: Identity) -> None:
        begin = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
        answer = self._client.get_object(**self._at(name), IfMatch=f'"{identity.etag}"', **begin)
        if answer["ETag"].strip('"') != identity.etag:  # for stores that ignore If-Match
            raise InputChangedError("the object was replaced while it was read; score it again")
        for chunk in answer["Body"].iter_chunks(_CHUNK):
            file.write(chunk)

    @contextmanager
    def room(self) -> Iterator[Path]:
        """Yield a local folder."""
        with temporary() as folder:
            yield folder

    def publish(self, path: Path, name: str) -> Identity:
        """Upload a file. The new object replaces the old one only when all of it has arrived."""
        size = path.stat().st_size
        with _told(name):
            if size <= _PART:
                self._client.put_object(**self._at(name), Body=path.read_bytes())
            else:
                self._in_parts(path, name, max(_PART, -(-size // _MOST_PARTS)))
        found = self.identity(name)
        if found.bytes != size:
            raise FileError(f"{name} has {found.bytes} bytes in the store, but {size} were put there; score it again")
        return found

    def _in_parts(self, path: Path, name: str, size: int) -> None:
        upload = {**self._at(name), "UploadId": self._client.create_multipart_upload(**self._at(name))["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            with path.open("rb") as file:
                while content := file.read(size):
                    number = len(parts) + 1
                    part = self._client.upload_part(**upload, PartNumber=number, Body=content)
                    parts.append({"PartNumber": number, "ETag": part["ETag"]})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # If the store is down, this fails too, and must not replace the error, which may be an interrupt.
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**upload)
            raise

    def read(self, name: str) -> bytes | None:
        """Return the content of an object, None if it does not exist."""
        try:
            with _told(name):
                content: bytes = self._client.get_object(**self._at(name))["Body"].read()
                return content
        except _AbsentError:
            return None

    def bytes(self, name: str) -> int | None:
        """Return the size of an object in bytes, None if it does not exist."""
        try:
            return self.identity(name).bytes
        except _AbsentError:
            return None

    def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        with _told(name):
            self._client.delete_object(**self._at(name))

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}


class _AbsentError(FileError):
    """The object does not exist."""


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn errors of the store into errors about `name`."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _ABSENT:
            raise _AbsentError(f"{name}: this object does not exist") from error
        if code in _CHANGED:
            raise InputChangedError("the object was replaced while it was read; score it again") from error
        if status >= 500 or code in {"SlowDown", "RequestTimeout"}:
            raise StoreUnavailableError(f"{name}: the store answers {code or status}") from error
        raise FileError(f"{name}: the store refuses access with these keys ({code or status})") from error
    except NoCredentialsError as error:
        raise FileError(
            f"{name}: the keys of the store are missing: set DATA_AWS_ACCESS_KEY_ID and DATA_AWS_SECRET_ACCESS_KEY, "
            "or the same names without DATA_"
        ) from error
    except BotoCoreError as error:
        raise StoreUnavailableError(f"{name}: the store does not answer ({' '.join(str(error).split())})") from error
