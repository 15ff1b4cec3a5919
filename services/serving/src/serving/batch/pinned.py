"""A pinned model opened outside the server, and a scorer that Spark and Ray can send to their workers."""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from serving.backoff import Backoff
from serving.batch.release import release_settings
from serving.batch.scorer import Scored, Scorer
from serving.environment import SettingsError, read
from serving.errors import UnavailableError
from serving.loader import LoadedModel
from serving.models import model_loader, pin_of, registry
from serving.settings import Settings
from serving.sources import Sources
from serving.versions.pinned import pinned_source

_LOAD_SECONDS = 300.0
_SECRET = ("SECRET", "PASSWORD", "TOKEN", "ACCESS_KEY", "API_KEYS")
REJECTED = "rejected"
# The most rows that are scored at a time: a table may have millions.
_ROWS = 65_536


def open_model(settings: Settings, seconds: float = _LOAD_SECONDS) -> LoadedModel:
    """Load the model that the settings pin, as a server does: its digest is checked before anything in it is parsed.

    If a store or MLflow does not answer, retry for `seconds` seconds.

    Raises:
        SettingsError: if the settings pin no version, or not its digest.
        ModelUnusableError: if the version does not have its digest, or cannot be served.
        UnavailableError: if it cannot be loaded in time.
    """
    if not settings.model_version or not settings.model_digest:
        missing = "MODEL_DIGEST" if settings.model_version else "MODEL_VERSION"
        raise SettingsError(
            f"{missing} is not set: only a pinned version can score files. Name a release.yaml (SCORE_RELEASE, "
            "--release), or set MODEL_NAME, MODEL_VERSION, MODEL_DIGEST and MODEL_URI"
        )
    if settings.model_dir:
        Path(settings.model_dir).mkdir(parents=True, exist_ok=True)
    # In a thread, because the caller may be running an event loop already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_load(settings, seconds))).result()


async def _load(settings: Settings, seconds: float) -> LoadedModel:
    sources = Sources(settings)
    pin = pin_of(settings.models[0], "MODEL_DIGEST")
    asked = registry(settings, sources, pin.name)
    backoff = Backoff(settings.retry_min_seconds, settings.retry_max_seconds)
    until = asyncio.get_running_loop().time() + seconds
    with tempfile.TemporaryDirectory(prefix="scoring-") as own:
        loader = model_loader(settings, sources, Path(settings.model_dir or own))
        try:
            while True:
                try:
                    return await loader.load(await pinned_source(pin, asked))
                except UnavailableError:
                    wait = backoff.next()
                    if asyncio.get_running_loop().time() + wait > until:
                        raise
                await asyncio.sleep(wait)
        finally:
            await sources.aclose()


class PinnedScorer:
    """Answers tables on any worker: only the pins are sent there, and each process opens the model once.

    The model is loaded by pin and digest, so all workers compute with exactly the files that git names, or not at all.
    Rows keep their places. A row that the model refuses has no prediction, and the reason in `rejected`.

    Args:
        pins: Settings of the server, above all MODEL_NAME, MODEL_VERSION, MODEL_DIGEST, MODEL_URI and S3_ENDPOINT_URL.
            They override the environment of the worker, which must provide the keys of the store.
        seconds: How long to retry a store that does not answer.

    Raises:
        SettingsError: if one of the pins is a secret, which would be sent and stored with the job.
    """

    def __init__(self, pins: Mapping[str, str], seconds: float = _LOAD_SECONDS) -> None:
        if secret := next((name for name in pins if any(part in name for part in _SECRET)), ""):
            raise SettingsError(f"{secret} is a secret: set it in the workers' environment, not among the pins")
        self._pins = dict(pins)
        self._seconds = seconds
        self._scorer: Scorer | None = None

    @classmethod
    def of_release(cls, path: str | Path, **more: str) -> "PinnedScorer":
        """Create the scorer of a release.yaml, with additional settings.

        Raises:
            SettingsError: if the file cannot be read, or pins nothing.
        """
        return cls({**release_settings(Path(path)), **more})

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent: the pins, without the model."""
        return {**vars(self), "_scorer": None}

    @property
    def scorer(self) -> Scorer:
        """The model, opened at the first use.

        Raises:
            ServingError: if it cannot be opened (see `open_model`).
        """
        if self._scorer is None:
            settings = read(Settings, {**os.environ, **self._pins})
            self._scorer = Scorer(open_model(settings, self._seconds))
        return self._scorer

    def __call__(self, table: pa.Table) -> pa.Table:
        """Answer a table, for `map_batches` of Ray Data: return all of its columns, and then those of the answers.

        Raises:
            InvalidInputError: if its columns do not fit the model, or have names of the answers' columns.
        """
        parts = [self._answered(batch) for batch in table.to_batches(_ROWS)]
        return pa.Table.from_batches(parts, self._schema(table.schema))

    def in_arrow(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Answer tables one by one, for `mapInArrow` of Spark."""
        return map(self._answered, batches)

    def in_pandas(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Answer data frames one by one, for `mapInPandas` of Spark."""
        for frame in frames:
            yield self(pa.Table.from_pandas(frame, preserve_index=False)).to_pandas()

    def _schema(self, given: pa.Schema) -> pa.Schema:
        self.scorer.check_names(given.names)
        return pa.schema([*given, *self.scorer.schema, pa.field(REJECTED, pa.string())])

    def _answered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        scored = self.scorer.score(batch)
        columns = [*batch.columns, *self.scorer.columns(scored), _reasons(scored, batch.num_rows)]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema(batch.schema))


def _reasons(scored: Scored, rows: int) -> pa.Array:
    if not scored.wrong:
        return pa.nulls(rows, pa.string())
    return pa.array([scored.wrong.get(row) for row in range(rows)], pa.string())
