"""The files of a prediction log, in a folder or an S3 store, one after the other in bounded memory."""

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

# A file that serving writes has 1 MiB; what is larger waits on the disk.
_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
_AT_ONCE = 4
_ATTEMPTS = 3
# A line of the log has a few kilobytes. A line without an end must not fill the memory.
_LONGEST_LINE = 16 << 20
# A file of other lines than ours would fill the list by itself.
_MOST_LINES_A_FILE = 100
_Record = TypeVar("_Record", bound=Struct)


class Days(Struct, frozen=True):
    """Which days of the log are read, the last one too; None for no bound."""

    first: date | None = None
    last: date | None = None

    def holds(self, day: str) -> bool:
        """Whether a day, as `2026-11-29`, is one of them."""
        return (self.first is None or day >= self.first.isoformat()) and (
            self.last is None or day <= self.last.isoformat()
        )

    @classmethod
    def until(cls, last: date, days: int) -> "Days":
        """So many days that end with a certain one."""
        return cls(last - timedelta(days=days - 1), last)


class UnreadableFileError(Exception):
    """A file, or what is left of it, is not compressed text; the message says why."""


class EmptyLogError(BadInputError):
    """The log has no file of these days."""


class LogFile(Struct, frozen=True, eq=False):
    """A file of the log: its name below the log's address, and its compressed bytes."""

    name: str
    body: IO[bytes]

    def lines(self) -> Iterator[bytes]:
        """The lines, without their ends.

        Raises:
            UnreadableFileError: The file is broken from here on.
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
    """Read the files of a log with the truth from callers of these days and later, if any. As `log_files`."""
    later = Days(days.first, None)
    yield from _found(address, later, FEEDBACK_SUFFIX)


def log_files(address: str, days: Days) -> Iterator[LogFile]:
    """Read the files of a log with answers, those of one day after those of the day before.

    What is deleted while this reads, as old files are, is left out.

    Args:
        address: `s3://BUCKET/ENVIRONMENT/SERVICE`, with the keys that `training.objects.fetch` takes, or a folder.
        days: Those whose files are read.

    Raises:
        EmptyLogError: It has no file of these days.
        BadInputError: There is no such place, or it is not let out.
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
    """Whether a file is of a kind, told by its name, and of one of the days, by the folder that it lies in."""
    if not name.endswith(suffix) or (suffix == SUFFIX and name.endswith(FEEDBACK_SUFFIX)):
        return False
    day = name.partition("/")[0]
    return days == Days() or (day.startswith("date=") and days.holds(day.removeprefix("date=")))


def _fetched_ahead(store: Any, bucket: str, prefix: str, keys: Iterator[str]) -> Iterator[LogFile]:
    """The objects in the order of their names, some fetched while another one is read."""
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
    """An object's bytes, on the disk where they are many; None where it is gone.

    Raises:
        OutageError: The store breaks off each time.
    """
    reason: Exception | None = None
    for _ in range(_ATTEMPTS):
        body: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (who reads it closes it)
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
            # What breaks off in the middle, boto3 does not ask for again.
            body.close()
            reason = error
        else:
            body.seek(0)
            return body
    raise OutageError(f"s3://{bucket}/{key}: the download was cut off ({' '.join(str(reason).split())}).") from reason


def decoded(
    file: LogFile, decoder: "msgspec.json.Decoder[_Record]", refusals: Refusals
) -> Iterator[tuple[int, _Record]]:
    """The lines of a file with their numbers, as far as they can be read; the others are refused."""
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
    """The sentence for what answers as no store does, such as the login page of a proxy."""
    return OutageError(
        f"{address}: the server that answers is not the store; set S3_ENDPOINT_URL to the store's address."
    )
