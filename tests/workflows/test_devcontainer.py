"""Proves that the development container fits the repository: its Python, its `make` targets and its scripts."""

import json
import re
import tomllib

from tests.workflows.workflow import ROOT

CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_the_project_supports_its_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    offered = re.search(r"python:(\d+)\.(\d+)-", CONTAINER["image"])
    assert offered, CONTAINER["image"]
    least = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert least
    assert tuple(map(int, offered.groups())) >= tuple(map(int, least.groups()))


def test_its_commands_exist() -> None:
    command = CONTAINER["postCreateCommand"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    targets = re.findall(r"\bmake (\S+)", command)
    assert targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    (installed,) = re.findall(r"\./tools/install ([\w -]+) &&", command)
    known = {path.name for path in (ROOT / "tools" / "go").iterdir()}
    assert set(installed.split()) <= known
    folders = CONTAINER["customizations"]["vscode"]["settings"]["python.testing.pytestArgs"][1:]
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
