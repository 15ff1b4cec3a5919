"""A page of the documentation, whose commands a test runs unchanged except for ports and folders."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded.processes import program
from embedded.servers import serving as serving_server

ROOT = Path(__file__).parents[2]


class Page:
    """A page under docs/."""

    def __init__(self, name: str) -> None:
        self._text = (ROOT / "docs" / name).read_text(encoding="utf-8")

    @property
    def text(self) -> str:
        """The whole text."""
        return self._text

    def command(self, beginning: str) -> list[str]:
        """Return the page's first command that begins like this, without the programs' folder."""
        (line, *_) = re.findall(rf"^(?:\.venv/bin/)?({re.escape(beginning)}.*)$", self._text, re.MULTILINE)
        return shlex.split(line)

    def blocks(self, language: str) -> list[str]:
        """Return the page's blocks of code in a language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self._text, re.MULTILINE | re.DOTALL)

    def run(self, beginning: str, environment: Mapping[str, str]) -> None:
        """Run the command that begins like this; it must succeed."""
        name, *arguments = self.command(beginning)
        subprocess.run([program(name), *arguments], env=environment, cwd=ROOT, check=True, timeout=240)

    def answer(self, folder: Path, tracking_uri: str) -> Any:
        """Run the page's command for serving, send the request of its curl command, and return the answer."""
        words = self.command("MODEL_NAME=")
        settings = dict(word.split("=") for word in words if "=" in word)
        assert [Path(words[-2]).name, words[-1]] == ["serving", "run"]
        del settings["PORT"], settings["HOST"]
        with serving_server(folder, {**settings, "MLFLOW_TRACKING_URI": tracking_uri}) as api:
            (asking,) = (block for block in self.blocks("shell") if block.startswith("curl"))
            line = asking.replace("http://127.0.0.1:8000", api.url)
            done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=30)
            return json.loads(done.stdout)
