"""The settings of `serving score`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_URL = r"^(https?://[^\s]+)?$"


class ScoreSettings(msgspec.Struct, frozen=True, rename=str.upper):
    """Which files are scored, and how. Created by `environment.read(ScoreSettings, os.environ)`."""

    score_release: Annotated[
        str, Meta(description="envs/ENV/SERVICE/release.yaml; its pins override the MODEL_... variables")
    ] = ""
    score_input: Annotated[
        str,
        Meta(
            description="what to score: a CSV or Parquet file, a folder of them, or a pattern with * and **; "
            "on this machine or s3://BUCKET/..."
        ),
    ] = ""
    score_output: Annotated[str, Meta(description="the folder for the answers, here or s3://BUCKET/...")] = ""
    score_format: Annotated[Literal["parquet", "csv"], Meta(description="how answers are written")] = "parquet"
    score_keep: Annotated[
        str, Meta(description="the input's columns to write too: all, none, or names separated by commas")
    ] = "all"
    score_csv_separator: Annotated[
        str, Meta(min_length=1, max_length=1, description="the field separator of CSV files")
    ] = ","
    score_max_rejected: Annotated[
        float, Meta(ge=0, le=1, description="the share of a file's rows that may be rejected; a file with more fails")
    ] = 0.1
    score_again: Annotated[bool, Meta(description="also score files that were already scored")] = False
    score_shards: Annotated[int, Meta(ge=1, le=10_000, description="how many processes share the files")] = 1
    score_shard: Annotated[int, Meta(ge=0, description="the number of this process, from 0")] = 0
    score_progress_seconds: Annotated[
        float, Meta(ge=0.1, le=3600, description="how often to write a line about the progress")
    ] = 5.0
    score_load_seconds: Annotated[
        float, Meta(ge=0, le=86400, description="how long to retry to load the model, if MLflow or the store is down")
    ] = 300.0
    data_s3_endpoint_url: Annotated[
        str, Meta(pattern=_URL, description="the S3 server of the data, if it is not that of S3_ENDPOINT_URL")
    ] = ""
    data_aws_region: Annotated[str, Meta(description="the region of the data's S3 server, if it is not AWS_REGION")] = (
        ""
    )
    data_aws_access_key_id: Annotated[
        str, Meta(description="the access key id for the data, if it has a separate one")
    ] = ""
    data_aws_secret_access_key: Annotated[str, Meta(description="and its secret")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the lowest level of messages to write")
    ] = "info"
    log_format: Annotated[
        Literal["json", "console"], Meta(description="one JSON object per line, or lines for people")
    ] = "console"

    def __post_init__(self) -> None:
        for name in ("score_input", "score_output"):
            if not getattr(self, name):
                raise ValueError(f"{name.upper()} is not set: say which files to score, and where to put the answers")
        if self.score_shard >= self.score_shards:
            raise ValueError(
                f"SCORE_SHARD is {self.score_shard}, but SCORE_SHARDS is {self.score_shards}: shards count from 0"
            )
        if bool(self.data_aws_access_key_id) != bool(self.data_aws_secret_access_key):
            raise ValueError("DATA_AWS_ACCESS_KEY_ID and DATA_AWS_SECRET_ACCESS_KEY belong together: set both, or none")
        if self.score_output.removeprefix("s3://").strip("/") == "" or Path(self.score_output).is_file():
            raise ValueError(f"SCORE_OUTPUT is {self.score_output!r}, but must be a folder")

    @property
    def kept(self) -> tuple[str, ...] | None:
        """The names of the columns to keep, None for all."""
        if self.score_keep in ("all", "none"):
            return None if self.score_keep == "all" else ()
        return tuple(name.strip() for name in self.score_keep.split(",") if name.strip())
