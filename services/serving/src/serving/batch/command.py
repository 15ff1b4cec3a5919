"""The command `serving score`: creates a job from settings, and an exit status from its result."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serving.batch.errors import FileError
from serving.batch.job import Job, Plan, Summary
from serving.batch.pinned import open_model
from serving.batch.places import Places, pattern
from serving.batch.release import release_settings
from serving.batch.s3 import S3Place, s3_client
from serving.batch.scorer import Scorer
from serving.batch.settings import ScoreSettings
from serving.environment import read
from serving.errors import ServingError
from serving.settings import Settings

_INTERRUPTED = 130


def score(wanted: ScoreSettings, environ: Mapping[str, str] = os.environ) -> int:
    """Run a job, and print its result as a line of JSON.

    Returns:
        The exit status: 0 if all files are scored, 1 if some are not, or the model or a store is not available, 130 if
        it was interrupted.

    Raises:
        SettingsError: if the settings name no model, or contradict each other.
    """
    pins = release_settings(Path(wanted.score_release)) if wanted.score_release else {}
    settings = read(Settings, {**environ, **pins})
    # A pod that is stopped ends like Ctrl-C does: unfinished work is undone, including multipart uploads.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        summary = _job(wanted, settings)
    except KeyboardInterrupt:
        print("serving score: interrupted; run it again, and it continues with the remaining files", file=sys.stderr)
        return _INTERRUPTED
    except ServingError as error:
        print(f"serving score: {error}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(summary).decode())
    for failure in summary.failures:
        print(f"serving score: {failure}", file=sys.stderr)
    return 1 if summary.failed else 0


def _job(wanted: ScoreSettings, settings: Settings) -> Summary:
    places = Places(lambda address: _bucket(wanted, settings, address))
    meant = pattern(wanted.score_input, folder=places.is_folder(wanted.score_input))
    if meant.root in {"s3:", "s3:/"} or "//" in meant.root.removeprefix("s3://"):
        raise FileError(f"SCORE_INPUT is {wanted.score_input!r}, which names no bucket: s3://BUCKET/FOLDER/*.parquet")
    scorer = Scorer(open_model(settings, wanted.score_load_seconds))
    plan = Plan(
        form=wanted.score_format,
        kept=wanted.kept,
        separator=wanted.score_csv_separator,
        max_rejected=wanted.score_max_rejected,
        again=wanted.score_again,
        shards=wanted.score_shards,
        shard=wanted.score_shard,
        progress_seconds=wanted.score_progress_seconds,
    )
    return Job(scorer, places.open(meant.root), places.open(wanted.score_output), plan).run(meant)


def _bucket(wanted: ScoreSettings, settings: Settings, address: str) -> S3Place:
    client = s3_client(
        wanted.data_s3_endpoint_url or settings.s3_endpoint_url,
        wanted.data_aws_region or settings.aws_region,
        wanted.data_aws_access_key_id,
        wanted.data_aws_secret_access_key,
        settings.ssl_cert_file,
    )
    return S3Place(client, address)
