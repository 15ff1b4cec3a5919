"""A scorer that is sent to workers, and the pins of an environment as settings."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest

from services.serving.tests import mixed
from services.serving.tests.conftest import Bundle
from services.serving.tests.penguins import penguins_table
from serving.batch.pinned import PinnedScorer
from serving.batch.release import release_settings
from serving.batch.scorer import ANSWERS
from serving.environment import SettingsError
from serving.errors import InvalidInputError, ServingError

DIGEST = "sha256:" + "0" * 64
RELEASE = f"""
model: {{name: penguins, version: "7", release: v1.2.0, digest: {DIGEST}, uri: s3://mlflow/1/artifacts}}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("penguins")
    return Bundle(folder, mixed.write_mixed(folder))


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> PinnedScorer:
    return PinnedScorer(bundle.pin())


@pytest.mark.slow
def test_a_worker_gets_only_the_pins_and_opens_the_model_itself(scorer: PinnedScorer, bundle: Bundle) -> None:
    table = penguins_table(3000)
    here = scorer(table)
    assert len(pickle.dumps(scorer)) < 1000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(scorer, table).result()
    assert here.equals(there)
    assert here.column_names == [*table.column_names, *ANSWERS, "rejected"]
    assert set(here["model_digest"].to_pylist()) == {bundle.digest}


def test_rows_keep_their_places(scorer: PinnedScorer) -> None:
    rows = penguins_table(5).to_pylist()
    rows[2]["eggs"] = None
    table = pa.Table.from_pylist(rows, schema=penguins_table(5).schema)
    found = scorer(table).to_pylist()
    assert [row["id"] for row in found] == list(range(5))
    assert [row["prediction"] is None for row in found] == [row == 2 for row in range(5)]
    assert found[2]["rejected"] == "column 'eggs': expected an integer, got null"
    assert found[1]["rejected"] is None


def test_frames_and_batches(scorer: PinnedScorer) -> None:
    table = penguins_table(40)
    whole = scorer(table)
    batches = pa.Table.from_batches(scorer.in_arrow(table.to_batches(15)))
    assert batches.column("prediction").to_pylist() == whole.column("prediction").to_pylist()
    frames = list(scorer.in_pandas([table.to_pandas()]))
    assert frames[0]["prediction"].tolist() == whole.column("prediction").to_pylist()
    assert scorer(table.slice(0, 0)).schema == whole.schema


def test_files_with_another_digest_are_not_run(bundle: Bundle) -> None:
    with pytest.raises(ServingError, match="digest"):
        PinnedScorer(bundle.pin(MODEL_DIGEST=DIGEST))(penguins_table(1))


def test_secrets_are_not_sent(bundle: Bundle) -> None:
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY is a secret"):
        PinnedScorer(bundle.pin(AWS_SECRET_ACCESS_KEY="x"))


def test_columns_named_like_answers(scorer: PinnedScorer) -> None:
    table = penguins_table(1)
    with pytest.raises(InvalidInputError, match="'probability'"):
        scorer(table.append_column("probability", table["id"]))


def test_pins_and_runtime_settings_come_from_the_files_of_an_environment(tmp_path: Path) -> None:
    service = tmp_path / "envs" / "prod" / "penguins"
    service.mkdir(parents=True)
    (service / "release.yaml").write_text(RELEASE)
    pins = {
        "MODEL_NAME": "penguins",
        "MODEL_VERSION": "7",
        "MODEL_RELEASE": "v1.2.0",
        "MODEL_DIGEST": DIGEST,
        "MODEL_URI": "s3://mlflow/1/artifacts",
    }
    assert release_settings(service / "release.yaml") == pins
    (tmp_path / "envs" / "values.yaml").write_text("settings: {runtime: onnx, logLevel: debug}\n")
    (tmp_path / "envs" / "prod" / "values.yaml").write_text("settings: {skopsTrustedTypes: [a.B, c.D]}\n")
    (service / "values.yaml").write_text("settings: {runtime: sklearn}\n")
    more = {"RUNTIME": "sklearn", "SKOPS_TRUSTED_TYPES": "a.B,c.D"}
    assert release_settings(service / "release.yaml") == pins | more
    assert PinnedScorer.of_release(service / "release.yaml", S3_ENDPOINT_URL="http://s3")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("model: {name: penguins}", "pins nothing"),
        ("model: [", "cannot be read"),
        ("- 1", "expected a map"),
        ("", "pins nothing"),
    ],
)
def test_a_release_that_pins_nothing(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "release.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=words):
        release_settings(path)
