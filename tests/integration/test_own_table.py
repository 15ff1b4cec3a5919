"""Proves that docs/bring-your-own-table.md works as it stands there, but for the ports and the folder of the files."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from embedded.processes import program
from embedded.servers import mlflow_server
from embedded.servers import serving as serving_server
from training.model_folder import read_model_file

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bring-your-own-table.md").read_text(encoding="utf-8")


def command(beginning: str) -> list[str]:
    """The page's first command that begins so, without the folder of the programs."""
    (line, *_) = re.findall(rf"^(?:\.venv/bin/)?({re.escape(beginning)}.*)$", PAGE, re.MULTILINE)
    return shlex.split(line)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_file_of_settings_is_one(tmp_path: Path) -> None:
    (settings,) = blocks("yaml")
    (tmp_path / "training.yaml").write_text(settings)
    assert set(read_model_file(tmp_path / "training.yaml").columns) == {"row_id", "city", "postcode", "age"}


@pytest.mark.timeout(360)
def test_the_page_leads_to_an_answer(tmp_path: Path) -> None:
    with mlflow_server(tmp_path) as mlflow:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.url}
        for beginning in ("training run --data", "training promote"):
            name, *arguments = command(beginning)
            subprocess.run([program(name), *arguments], env=environment, cwd=ROOT, check=True, timeout=240)
        words = command("MODEL_NAME=")
        settings = dict(word.split("=") for word in words if "=" in word)
        assert [Path(words[-2]).name, words[-1]] == ["serving", "run"]
        del settings["PORT"], settings["HOST"]
        with serving_server(tmp_path, {**settings, "MLFLOW_TRACKING_URI": mlflow.url}) as api:
            (asking,) = (block for block in blocks("shell") if block.startswith("curl"))
            line = asking.replace("http://127.0.0.1:8000", api.url)
            done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=30)
            answer = json.loads(done.stdout)
    assert (answer["prediction"], answer["model_version"]) == ("Gentoo", "v1.0.0")
