"""The README shows the help that the command prints."""

import re
from pathlib import Path

import pytest

from gitops.cli import app, execute
from tools.derived.help_texts import verbs

README = (Path(__file__).parents[1] / "README.md").read_text()
SHOWN = dict(re.findall(r"```console\n\$ gitops ?([\w -]*?) ?--help\n(.*?)\n```", README, re.DOTALL))


def test_every_command_is_shown() -> None:
    assert set(SHOWN) == {"", *verbs(app)}


@pytest.mark.parametrize("verb", SHOWN)
def test_the_help_in_the_readme_is_current(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert execute([*verb.split(), "--help"]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()]
    assert SHOWN[verb].splitlines() == printed
