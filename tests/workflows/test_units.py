"""When a worker of pytest crashes, the rest of its tests still run, and the run ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.units import TOGETHER, unit_of
from tests.workflows.workflow import ROOT

# One worker crashes in the middle of a unit, before the other tests of the unit.
TESTS = """
import os
import pytest

@pytest.mark.parametrize("number", range(5))
def test_of_one_unit(number):
    if number == 2:
        os._exit(11)

@pytest.mark.parametrize("number", range(3))
def test_of_another(number):
    pass
"""


def test_a_worker_that_crashes_fails_only_one_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    command += ["-c", "pyproject.toml"]  # without it, pytest would load all installed plugins
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 failed, 7 passed" in done.stdout, done.stdout + done.stderr
    assert "crashed while running 'test_it.py::test_of_one_unit[2]'" in done.stdout


@pytest.mark.parametrize("unit", TOGETHER)
def test_files_that_share_fixtures_exist_and_use_them(unit: str) -> None:
    for node in TOGETHER[unit]:
        path, _, function = node.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert any(fixture in text for fixture in unit.split(", ")), f"{path} uses none of them"
        assert f"def {function or 'test_'}" in text
        assert unit_of(f"{path}::{function or 'test_any[1]'}") == unit


@pytest.mark.parametrize(
    ("node", "unit"),
    [
        ("tests/forges/test_sign_in_mlflow.py::test_a", "tests/forges/test_sign_in"),
        ("tests/forges/test_sign_in_argocd.py::test_b", "tests/forges/test_sign_in"),
        ("tests/forges/test_verbs.py::test_c[gitea]", "tests/forges/test_verbs.py::test_c"),
        ("tests/faults/test_callers.py::test_d[1-2]", "tests/faults/test_callers.py"),
    ],
)
def test_tests_that_share_a_stack_are_one_unit(node: str, unit: str) -> None:
    assert unit_of(node) == unit
