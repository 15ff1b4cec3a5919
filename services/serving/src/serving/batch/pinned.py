"""A pinned model opened outside of the server, and a scorer that Spark and Ray can send to their workers."""

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
# What is computed at a time of a table, which may hold millions.
_ROWS = 65_536


def open_model(settings: Settings, seconds: float = _LOAD_SECONDS) -> LoadedModel:
    """Loads the model that the settings pin, as a server does: proved by its digest before anything of it is parsed.

    If a store or MLflow does not answer, it is retried for so many seconds.

    Raises:
        SettingsError: when the settings pin no version, or not its digest.
        ModelUnusableError: when the version is not what its digest says, or cannot be served.
        UnavailableError: when it cannot be had in time.
    """
    if not settings.model_version or not settings.model_digest:
        missing = "MODEL_DIGEST" if settings.model_version else "MODEL_VERSION"
        raise SettingsError(
            f"{missing} is not set: only a pinned version can score files. Name a release.yaml (SCORE_RELEASE, "
            "--release), or set MODEL_NAME, MODEL_VERSION, MODEL_DIGEST and MODEL_URI"
        )
    if settings.model_dir:
        Path(settings.model_dir).mkdir(parents=True, exist_ok=True)
    # In a thread, because whoever asks may run an event loop already.
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
    """Answers tables anywhere: what is sent to a worker is the pins, and each process opens the model once.

    The model is loaded by pin and digest, so all workers compute with the very files that git names, or not at all.
    Each row is answered where it stands: one that the model refuses has no prediction, and why in `rejected`.

    Args:
        pins: Settings of the server, above all MODEL_NAME, MODEL_VERSION, MODEL_DIGEST, MODEL_URI and S3_ENDPOINT_URL.
            They win over the variables of the worker, which keys to the store must come from.
        seconds: How long to retry a store that does not answer.

    Raises:
        SettingsError: when one of the pins is a secret, which would be sent and stored along with the job.
    """

    def __init__(self, pins: Mapping[str, str], seconds: float = _LOAD_SECONDS) -> None:
        if secret := next((name for name in pins if any(part in name for part in _SECRET)), ""):
            raise SettingsError(f"{secret} is a secret: set it in the workers' environment, not among the pins")
        self._pins = dict(pins)
        self._seconds = seconds
        self._scorer: Scorer | None = None

    @classmethod
    def of_release(cls, path: str | Path, **more: str) -> "PinnedScorer":
        """Makes the scorer of a release.yaml, with some settings more.

        Raises:
            SettingsError: when the file cannot be read, or pins nothing.
        """
        return cls({**release_settings(Path(path)), **more})

    def __getstate__(self) -> dict[str, Any]:
        """What is sent: the pins, and not the model."""
        return {**vars(self), "_scorer": None}

    @property
    def scorer(self) -> Scorer:
        """The model, opened at the first use.

        Raises:
            ServingError: when it cannot be (see `open_model`).
        """
        if self._scorer is None:
            settings = read(Settings, {**os.environ, **self._pins})
            self._scorer = Scorer(open_model(settings, self._seconds))
        return self._scorer

    def __call__(self, table: pa.Table) -> pa.Table:
        """Answers a table, for `map_batches` of Ray Data: all of its columns, and then those of the answers.

        Raises:
            InvalidInputError: when its columns are not what the model takes, or are named like those of answers.
        """
        parts = [self._answered(batch) for batch in table.to_batches(_ROWS)]
        return pa.Table.from_batches(parts, self._schema(table.schema))

    def in_arrow(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Answers tables one by one, for `mapInArrow` of Spark."""
        return map(self._answered, batches)

    def in_pandas(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Answers data frames one by one, for `mapInPandas` of Spark."""
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
