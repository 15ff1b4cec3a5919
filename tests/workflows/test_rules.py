"""Proves that the workflows follow this repository's rules, actionlint's and zizmor's, and that each rule can fail.

Each fixture under rejected/ changes one text of one workflow, and names the rule that must reject it. It starts with
`# rejected: TEXT`, which must be part of the rule's message.
"""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.workflows.rules import RULES, Rule
from tests.workflows.workflow import ROOT, Files, read

BY_NAME: dict[str, Rule] = {rule.__name__: rule for rule in RULES}
REJECTED = sorted((Path(__file__).parent / "rejected").glob("*.yaml"))
MARK = "# rejected: "


def changed(path: Path) -> tuple[Files, str, str]:
    """Return the files with a fixture's change, the rule that must reject it, and the text of the message."""
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    assert first.startswith(MARK), f"{path} must start with: {MARK}TEXT"
    fixture = yaml.safe_load(rest)
    assert fixture.keys() == {"rule", "workflow", "find", "write"}, path
    files = read().changed(fixture["workflow"], fixture["find"], fixture["write"])
    return files, fixture["rule"], first.removeprefix(MARK).strip()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_workflows_keep_to(rule: Rule) -> None:
    assert rule(read()) == []


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_rejected(path: Path) -> None:
    files, rule, reason = changed(path)
    assert reason in "\n".join(BY_NAME[rule](files))


def test_every_rule_rejects_something() -> None:
    assert {changed(path)[1] for path in REJECTED} == BY_NAME.keys()


@pytest.mark.parametrize(
    "checker", [["actionlint"], ["zizmor", "--offline", "--no-progress", ".github"]], ids=lambda line: line[0]
)
def test_checkers_find_nothing(checker: list[str]) -> None:
    program = next(
        folder / checker[0]
        for folder in (ROOT / ".cache/tools/bin", ROOT / ".venv/bin")
        if (folder / checker[0]).exists()
    )
    done = subprocess.run([program, *checker[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exception_has_a_reason() -> None:
    """zizmor's exceptions are in one file, each with its reason before it, and none is in a workflow."""
    texts = "\n".join(read().texts.values())
    assert "zizmor: ignore" not in texts
    assert "shellcheck disable" not in texts
    lines = (ROOT / ".github/zizmor.yml").read_text(encoding="utf-8").splitlines()
    switched_off = [number for number, line in enumerate(lines) if line.strip() == "disable: true"]
    assert len(switched_off) == 1
    assert all(lines[number - 1].lstrip().startswith("# ") for number in switched_off)
