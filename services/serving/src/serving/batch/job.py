"""The job: scores each file of an input once, and publishes the answers when they are complete."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pyarrow as pa

from serving.batch.errors import FileError
from serving.batch.files import Format, SideFile, TableWriter, read_table, rows_that, stem, writing
from serving.batch.manifest import SUFFIX, Manifest, Model, Options, Part, decoded
from serving.batch.places import Found, Identity, Pattern, Place, Taken, matching
from serving.batch.rows import absent
from serving.batch.scorer import Scorer
from serving.batch.text import Chunk
from serving.decoding import listed, shown_name
from serving.errors import InvalidInputError

logger = logging.getLogger(__name__)

_REJECTED = ".rejected.jsonl"


class Plan(msgspec.Struct, frozen=True):
    """What to do: the format of the answers, the columns to keep, and the share of the files for this process."""

    form: Format = "parquet"
    kept: tuple[str, ...] | None = None
    separator: str = ","
    max_rejected: float = 0.1
    again: bool = False
    shards: int = 1
    shard: int = 0
    progress_seconds: float = 5.0


class Summary(msgspec.Struct):
    """The result of a job."""

    files: int = 0
    scored: int = 0
    skipped: int = 0
    failed: int = 0
    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0
    failures: list[str] = []


class Job:
    """Scores the files of one place into another.

    Args:
        scorer: The model.
        source: The place of the files.
        target: The place for the answers.
        plan: What to do.
    """

    def __init__(self, scorer: Scorer, source: Place, target: Place, plan: Plan) -> None:
        self._scorer = scorer
        self._source = source
        self._target = target
        self._plan = plan
        model = scorer.model
        self._model = Model(model.name, model.version, model.release, model.digest, model.runtime.name)
        keep = "all" if plan.kept is None else ",".join(plan.kept)
        self._options = Options(plan.form, keep, plan.separator)

    def run(self, wanted: Pattern) -> Summary:
        """Score the matching files that are not scored yet. A file that fails does not stop the others.

        Raises:
            FileError: if no file matches, or answers would be read as input.
            StoreUnavailableError: if a store stays unavailable. Files scored until then are not scored again next time.
        """
        begun, found = time.monotonic(), matching(self._source, wanted)
        if not found:
            raise FileError(
                f"no file matches {wanted.root}/{'/'.join(wanted.parts)}; names must end in .parquet or .csv, and "
                "folders of s3:// in a /"
            )
        self._check(found, wanted)
        mine = [file for file in found if crc32(file.name.encode()) % self._plan.shards == self._plan.shard]
        summary = Summary(files=len(mine))
        with self._target.room() as room:
            for at, file in enumerate(mine):
                try:
                    self._one(file, room, f"{at + 1}/{len(mine)}", summary)
                except (FileError, InvalidInputError, OSError) as error:
                    summary.failed += 1
                    summary.failures.append(f"{file.address}: {error}")
                    logger.error("file failed", extra={"file": file.address, "reason": str(error)})  # noqa: TRY400
        summary.seconds = round(time.monotonic() - begun, 3)
        return summary

    def _check(self, found: list[Found], wanted: Pattern) -> None:
        """Refuse jobs whose answers would overwrite each other or the input, or would be scored next time."""
        taken: dict[str, str] = {}
        for file in found:
            output = self._output(file)
            if output in taken:
                raise FileError(f"{taken[output]} and {file.name} would both be answered in {output}: rename one")
            taken[output] = file.name
            address = f"{self._target.address}/{output}"
            below = _below(address, self._source.address)
            if below is not None and wanted.takes(below):
                raise FileError(
                    f"{address} would be read as input the next time: put the answers elsewhere, or use a narrower "
                    "pattern for the input"
                )

    def _output(self, file: Found) -> str:
        return f"{stem(file.name)}.{self._plan.form}"

    def _one(self, file: Found, room: Path, place: str, summary: Summary) -> None:
        name = stem(file.name)
        before = decoded(self._target.read(name + SUFFIX))
        if before and not self._plan.again and self._is_done(before, file):
            summary.skipped += 1
            logger.info("scored already", extra={"file": file.address, "rows": before.input.rows})
            return
        with _progress(file.address, place, self._plan.progress_seconds) as tell, self._source.take(file.name) as taken:
            begun = time.monotonic()
            answers, side = room / "answers", SideFile(room / "rejected")
            try:
                rows = self._answer(file.address, taken, answers, side, tell)
            except (FileError, InvalidInputError):
                taken.check()  # reports a file that changed while it was read, which explains the error
                raise
            taken.check()
            self._publish(file, taken.identity, answers, side, rows, begun)
        summary.scored += 1
        summary.rows += rows
        summary.rejected += side.rows

    def _is_done(self, before: Manifest, file: Found) -> bool:
        return (
            before.model == self._model
            and before.options == self._options
            and before.input.address == file.address
            and self._target.bytes(self._output(file)) == before.output.identity.bytes
            and before.input.identity == self._source.identity(file.name)
        )

    def _answer(self, address: str, taken: Taken, answers: Path, side: SideFile, tell: Callable[[int], None]) -> int:
        """Score all rows of a file, and return their number."""
        spec, rows = self._scorer.model.spec, 0
        chunks = read_table(taken.path, spec.columns, self._plan.separator)
        first = next(chunks, None)
        if first is None:
            raise FileError("it has no rows")
        self._warn_of_absent(address, first.given.schema.names)
        try:
            with writing(answers, self._plan.form, self._schema(first.given.schema)) as writer:
                for chunk in _chained(first, chunks):
                    self._part(chunk, writer, side)
                    rows += len(chunk.numbers) + len(chunk.broken)
                    tell(rows)
        finally:
            side.close()
        if side.rows > self._plan.max_rejected * rows:
            raise FileError(
                f"{side.rows} of {rows} rows are rejected, more than SCORE_MAX_REJECTED ({self._plan.max_rejected}) "
                f"allows: {'; '.join(side.first)}"
            )
        return rows

    def _warn_of_absent(self, file: str, names: list[str]) -> None:
        """Log the optional columns that a file does not have. A misspelt name would otherwise look like nulls."""
        if missing := absent(names, self._scorer.model.reader):
            told = {"file": file, "missing": listed(missing), "columns": listed(names)}
            logger.warning("columns of the model are missing, and count as null", extra=told)

    def _schema(self, given: pa.Schema) -> pa.Schema:
        names = given.names if self._plan.kept is None else self._plan.kept
        if missing := [name for name in names if name not in given.names]:
            raise FileError(f"column {shown_name(missing[0])} should be kept, but the file has {listed(given.names)}")
        self._scorer.check_names(names)
        return pa.schema([*(given.field(name) for name in names), *self._scorer.schema])

    def _part(self, chunk: Chunk, writer: TableWriter, side: SideFile) -> None:
        scored = self._scorer.score(chunk.typed)
        wrong = scored.wrong | chunk.wrong
        for number, text, reason in chunk.broken:
            side.write(number, reason, text)
        for row, reason in sorted(wrong.items()):
            side.write(chunk.numbers[row], reason, chunk.given.slice(row, 1).to_pylist()[0])
        fit = np.ones(chunk.given.num_rows, dtype=bool)
        fit[list(wrong)] = False
        names = chunk.given.schema.names if self._plan.kept is None else self._plan.kept
        columns = [chunk.given.column(name) for name in names] + self._scorer.columns(scored)
        writer.write(rows_that(fit, columns))

    def _publish(self, file: Found, identity: Identity, answers: Path, side: SideFile, rows: int, begun: float) -> None:
        """Publish the answers, and then the manifest. Without a manifest they would be scored again."""
        name, target = stem(file.name), self._target
        target.remove(name + SUFFIX)
        rejected = None
        if side.rows:
            found = target.publish(side.path, name + _REJECTED)
            rejected = Part(f"{target.address}/{name}{_REJECTED}", found, side.rows)
        else:
            target.remove(name + _REJECTED)
        output = Part(
            f"{target.address}/{self._output(file)}", target.publish(answers, self._output(file)), rows - side.rows
        )
        manifest = Manifest(
            input=Part(file.address, identity, rows),
            model=self._model,
            options=self._options,
            output=output,
            rejected=rejected,
            finished=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            seconds=round(time.monotonic() - begun, 3),
            serving=version("serving"),
        )
        told = answers.with_name("manifest")
        told.write_bytes(manifest.encoded())
        target.publish(told, name + SUFFIX)
        logger.info(
            "file scored",
            extra={"file": file.address, "rows": rows, "rejected": side.rows, "seconds": manifest.seconds},
        )


def _below(address: str, root: str) -> str | None:
    """Return the name of a file relative to a folder, by both addresses. None if it is not in the folder."""
    if address.startswith("s3://") != root.startswith("s3://"):
        return None
    if not root.startswith("s3://"):
        address, root = str(Path(address).resolve()), str(Path(root).resolve())
    prefix = root.rstrip("/") + "/"
    return address.removeprefix(prefix) if address.startswith(prefix) else None


def _chained(first: Chunk, others: Iterator[Chunk]) -> Iterator[Chunk]:
    yield first
    yield from others


@contextmanager
def _progress(file: str, place: str, seconds: float) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of scored rows, and logs it every `seconds` seconds."""
    begun = last = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            rate = round(rows / (now - begun))
            logger.info("scoring", extra={"file": file, "of": place, "rows": rows, "rows_a_second": rate})

    yield tell
