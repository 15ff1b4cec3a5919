"""What pytest's workers do when one of them ends: the rest of its tests run, and the run comes to its end."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.units import TOGETHER, unit_of
from tests.workflows.workflow import ROOT

# One worker ends in the midst of a unit whose other tests are still to be run.
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


def test_a_worker_that_ends_fails_one_test_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    command += ["-c", "pyproject.toml"]  # without it, all plugins that are installed would be loaded
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 failed, 7 passed" in done.stdout, done.stdout + done.stderr
    assert "crashed while running 'test_it.py::test_of_one_unit[2]'" in done.stdout


@pytest.mark.parametrize("unit", TOGETHER)
def test_what_shares_fixtures_is_there_and_takes_them(unit: str) -> None:
    for node in TOGETHER[unit]:
        path, _, function = node.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert any(fixture in text for fixture in unit.split(", ")), f"{path} takes none of them"
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
def test_a_worker_takes_at_once_what_shares_a_stack(node: str, unit: str) -> None:
    assert unit_of(node) == unit
