"""The files of a prediction log, in a folder or an S3 store, read one by one in bounded memory."""

import gzip
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from msgspec import Struct

from modelformat.logged import FEEDBACK_SUFFIX, SUFFIX
from training import objects
from training.addresses import named, shown
from training.errors import BadInputError, OutageError
from training.outcomes.refused import Refusals

# Serving writes files of 1 MiB. Larger ones are kept on disk.
_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
_AT_ONCE = 4
_ATTEMPTS = 3
# A line of the log has a few kilobytes. A file without line ends must not fill the memory.
_LONGEST_LINE = 16 << 20
# A file in another format would otherwise fill the whole list of refusals.
_MOST_LINES_A_FILE = 100
_Record = TypeVar("_Record", bound=Struct)


class Days(Struct, frozen=True):
    """The days of the log to read, the last one included; None means no bound."""

    first: date | None = None
    last: date | None = None

    def holds(self, day: str) -> bool:
        """Return whether a day, such as `2026-11-29`, is one of them."""
        return (self.first is None or day >= self.first.isoformat()) and (
            self.last is None or day <= self.last.isoformat()
        )

    @classmethod
    def until(cls, last: date, days: int) -> "Days":
        """Return a number of days that end with a given day."""
        return cls(last - timedelta(days=days - 1), last)


class UnreadableFileError(Exception):
    """A file, or the rest of it, is not gzipped text; the message says why."""


class EmptyLogError(BadInputError):
    """The log has no file of these days."""


class LogFile(Struct, frozen=True, eq=False):
    """A file of the log: its name below the log's address, and its compressed bytes."""

    name: str
    body: IO[bytes]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, without their ends.

        Raises:
            UnreadableFileError: The rest of the file is broken.
        """
        try:
            with gzip.GzipFile(fileobj=self.body, mode="rb") as text:
                while line := text.readline(_LONGEST_LINE):
                    if len(line) == _LONGEST_LINE:
                        raise UnreadableFileError(f"has a line of more than {_LONGEST_LINE >> 20} MiB")
                    yield line.rstrip(b"\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableFileError(f"is broken ({error})") from error


def feedback_files(address: str, days: Days) -> Iterator[LogFile]:
    """Yield the files with truth that callers sent on these days or later, if any; see `log_files`."""
    later = Days(days.first, None)
    yield from _found(address, later, FEEDBACK_SUFFIX)


def log_files(address: str, days: Days) -> Iterator[LogFile]:
    """Yield the files of a log with answers, in the order of their days.

    A file that is deleted meanwhile, because it is old, is left out.

    Args:
        address: `s3://BUCKET/ENVIRONMENT/SERVICE`, with the keys that `training.objects.fetch` takes, or a folder.
        days: The days to read.

    Raises:
        EmptyLogError: The log has no file of these days.
        BadInputError: There is no such place, or access is denied.
        OutageError: The store does not answer.
    """
    count = 0
    for found in _found(address, days, SUFFIX):
        count += 1
        yield found
    if not count:
        days_told = f" of {days.first or 'the beginning'} to {days.last or 'now'}" if days.first or days.last else ""
        raise EmptyLogError(
            f"--log: {named(address)} has no files of a prediction log{days_told} "
            f"(date=YYYY-MM-DD/hour=HH/*{SUFFIX}); `predictionLog.enabled` turns it on."
        )


def _found(address: str, days: Days, suffix: str) -> Iterator[LogFile]:
    kind = _objects if urlsplit(address).scheme == "s3" else _paths
    return kind(address, days, suffix)


def _paths(address: str, days: Days, suffix: str) -> Iterator[LogFile]:
    root = Path(address)
    if "://" in address or not root.is_dir():
        raise BadInputError(f"--log: {named(address)} is neither a folder nor s3://.")
    for path in sorted(root.rglob(f"*{suffix}")):
        name = path.relative_to(root).as_posix()
        if not _wanted(name, days, suffix):
            continue
        try:
            with path.open("rb") as body:
                yield LogFile(name, body)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _objects(address: str, days: Days, suffix: str) -> Iterator[LogFile]:
    parts = urlsplit(address)
    bucket, prefix = parts.netloc, unquote(parts.path.strip("/"))
    if not bucket or not prefix:
        raise BadInputError(f"--log: {shown(address)!r} is not of the form s3://BUCKET/ENVIRONMENT/SERVICE.")
    try:
        store = objects.client()
        names = _keys(store, bucket, f"{prefix}/", days, suffix)
        yield from _fetched_ahead(store, bucket, f"{prefix}/", names)
    except (ClientError, BotoCoreError, ResponseParserError) as error:
        raise objects.explained(error, shown(address)) from error


def _keys(store: Any, bucket: str, prefix: str, days: Days, suffix: str) -> Iterator[str]:
    after = f"{prefix}date={days.first}" if days.first else prefix
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=after):
        if "Name" not in page:
            raise _no_store(f"s3://{bucket}/{prefix}")
        for entry in page.get("Contents", []):
            key: str = entry["Key"]
            if _wanted(key.removeprefix(prefix), days, suffix):
                yield key


def _wanted(name: str, days: Days, suffix: str) -> bool:
    """Return whether a file has a suffix, and its folder is one of the days."""
    if not name.endswith(suffix) or (suffix == SUFFIX and name.endswith(FEEDBACK_SUFFIX)):
        return False
    day = name.partition("/")[0]
    return days == Days() or (day.startswith("date=") and days.holds(day.removeprefix("date=")))


def _fetched_ahead(store: Any, bucket: str, prefix: str, keys: Iterator[str]) -> Iterator[LogFile]:
    """Yield the objects in the order of their names, and fetch the next ones meanwhile."""
    waiting: deque[tuple[str, Future[IO[bytes] | None]]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            more = True
            while more or waiting:
                while more and len(waiting) < _AT_ONCE:
                    key = next(keys, None)
                    more = key is not None
                    if key is not None:
                        waiting.append((key, pool.submit(_fetched, store, bucket, key)))
                if not waiting:
                    return
                key, future = waiting.popleft()
                body = future.result()
                if body is not None:
                    with body:
                        yield LogFile(key.removeprefix(prefix), body)
        finally:
            for _, future in waiting:
                future.cancel()


def _fetched(store: Any, bucket: str, key: str) -> IO[bytes] | None:
    """Return an object's content, on disk if it is large; None if the object no longer exists.

    Raises:
        OutageError: The download was cut off each time.
    """
    reason: Exception | None = None
    for _ in range(_ATTEMPTS):
        body: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (the reader closes it)
        try:
            found = store.get_object(Bucket=bucket, Key=key)
            if "ETag" not in found:
                raise _no_store(f"s3://{bucket}/{key}")
            for chunk in found["Body"].iter_chunks(_CHUNK):
                body.write(chunk)
        except ClientError as error:
            body.close()
            if error.response.get("Error", {}).get("Code") in objects.ABSENT:
                return None
            raise
        except (BotoCoreError, OSError) as error:
            # boto3 does not retry a download that is cut off in the middle.
            body.close()
            reason = error
        else:
            body.seek(0)
            return body
    raise OutageError(f"s3://{bucket}/{key}: the download was cut off ({' '.join(str(reason).split())}).") from reason


def decoded(
    file: LogFile, decoder: "msgspec.json.Decoder[_Record]", refusals: Refusals
) -> Iterator[tuple[int, _Record]]:
    """Yield the readable lines of a file with their numbers; the others are refused."""
    wrong = 0
    try:
        for number, text in enumerate(file.lines(), start=1):
            try:
                record = decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                wrong += 1
                if wrong <= _MOST_LINES_A_FILE:
                    refusals.add("line", f"{file.name} line {number}", detail=str(error))
                else:
                    refusals.counts["line"] += 1
                continue
            yield number, record
    except UnreadableFileError as error:
        refusals.add("file", file.name, detail=str(error))


def _no_store(address: str) -> OutageError:
    """Return the error for a server that is not a store, such as the login page of a proxy."""
    return OutageError(
        f"{address}: the server that answers is not the store; set S3_ENDPOINT_URL to the store's address."
    )
