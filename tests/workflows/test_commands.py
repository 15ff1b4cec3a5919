"""Proves that every line of shell in the workflows is valid: the command exists, and accepts its options.

make checks the targets, and the commands' own parsers check the options. Nothing is executed.
"""

import importlib.util
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

import pytest
from cyclopts import CycloptsError

from gitops.cli import app as gitops
from tests.workflows.workflow import ROOT, Step, read
from training.cli import app as training

# Programs of GitHub's runners that this repository does not install.
ON_THE_RUNNER = {"gh", "sudo", "tee"}
FILES = read()
STEPS = [step for job in FILES.jobs for step in job.steps] + FILES.prepare_steps
LINES = sorted({command for step in STEPS for command in step.commands})


def parses(app: object, words: Sequence[str]) -> None:
    try:
        app.parse_args(list(words), exit_on_error=False, print_error=False)  # type: ignore[attr-defined]  # any cyclopts.App
    except CycloptsError as error:
        pytest.fail(f"{' '.join(words)}: {error}")


def is_target(words: Sequence[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    # Some targets fail without a cluster. This only checks that they exist.
    assert "No rule to make target" not in done.stderr, done.stderr


def is_script(name: str, words: Sequence[str]) -> None:
    path = ROOT / name
    assert path.is_file(), f"there is no {name}"
    assert os.access(path, os.X_OK), f"{name} is not executable"
    if name == "tools/install":
        missing = [
            word for word in words if not word.startswith("$") and not (ROOT / "tools/go" / word / "go.mod").is_file()
        ]
        assert not missing, f"tools/go has no {missing}"


def is_module(words: Sequence[str]) -> None:
    assert words[0] == "-m", words
    assert importlib.util.find_spec(words[1]), f"there is no module {words[1]}"


KNOWN: Mapping[str, Callable[[Sequence[str]], None]] = {
    "make": is_target,
    ".venv/bin/gitops": lambda words: parses(gitops, words),
    ".venv/bin/training": lambda words: parses(training, words),
    ".venv/bin/python": is_module,
}


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_the_line_can_be_run(line: tuple[str, ...]) -> None:
    program, words = line[0], line[1:]
    if program in KNOWN:
        KNOWN[program](words)
    elif program.startswith("tools/"):
        is_script(program, words)
    else:
        assert program in ON_THE_RUNNER, f"{program} is neither in this repository nor on every runner"


def test_lines_were_read() -> None:
    assert {line[0] for line in LINES} >= {*KNOWN, "tools/deliver-image", "tools/install", "gh"}


@pytest.mark.parametrize(
    "line", ["make no-such-target", ".venv/bin/gitops bump platform --no-such-option x", "tools/no-such"]
)
def test_missing_commands_and_options_are_found(line: str) -> None:
    (command,) = Step(run=line, uses=None, env={}, values={}).commands
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_the_line_can_be_run(command)


def test_jobs_install_the_programs_that_their_scripts_need() -> None:
    """A job whose scripts call Helm or crane installs it first."""
    needs = {
        "tools/push-charts": "helm",
        "tools/rendered-diff": "helm",
        "tools/deliver-image": "crane",
        "tools/pin-delivered": "crane",
        "tools/publish-release": "crane",
        "tools/judge": "helm",
        ".venv/bin/gitops promote": "helm",
    }
    for job in FILES.jobs:
        there: set[str] = set()
        for step in job.steps:
            there |= set(step.values.get("with", {}).get("tools", "").split())
            for command in step.commands:
                for name, program in needs.items():
                    if " ".join(command[: name.count(" ") + 1]) == name:
                        assert program in there, f"{job.title}: {name} needs {program}"
