"""`training score`: which pins it uses, and that the serving package answers with that version."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.serving.tests.bundles import COLUMNS, write_bundle
from training.cli import execute
from training.errors import BadInputError
from training.scoring import release_of


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    digest = write_bundle(tmp_path / "model")
    pins = {"name": "iris", "version": "7", "digest": digest, "uri": (tmp_path / "model").as_uri()}
    for name in ("one", "two"):
        folder = tmp_path / "envs" / name / "iris"
        folder.mkdir(parents=True)
        (folder / "release.yaml").write_text(json.dumps({"model": pins}))
    return tmp_path / "envs"


@pytest.mark.slow
def test_files_are_scored_with_the_pins_of_an_environment(
    envs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({name: [5.1, 6.0] for name in COLUMNS}), tmp_path / "rows.parquet")
    command = ["score", "iris", "--env", "two", "--envs", str(envs), "--input", f"{tmp_path}/rows.parquet"]
    assert execute([*command, "--output", f"{tmp_path}/out", "--keep", "none", "--format", "csv"]) == 0
    assert json.loads(capfd.readouterr().out)["scored"] == 1
    assert (tmp_path / "out" / "rows.csv").read_text().startswith('"prediction","probability","model_name"')
    assert execute([*command[:-1], f"{tmp_path}/none.csv", "--output", f"{tmp_path}/out"]) == 1
    assert "no file matches" in capfd.readouterr().err


def test_the_environment_must_be_named_if_several_have_a_release(envs: Path) -> None:
    with pytest.raises(BadInputError, match="iris has a release in one, two"):
        release_of(envs, None, "iris")
    with pytest.raises(BadInputError, match="no release in three"):
        release_of(envs, "three", "iris")
    with pytest.raises(BadInputError, match="ENV/wine/release"):
        release_of(envs, None, "wine")
    (envs / "one" / "iris" / "release.yaml").unlink()
    assert release_of(envs, None, "iris") == envs / "two" / "iris" / "release.yaml"
