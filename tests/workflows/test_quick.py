"""Proves which tests `--quick` leaves out, and which a saved file runs under `make dev`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import quick
from tests.workflows.workflow import ROOT
from tools.watch.__main__ import parts, run_by

_TESTS = """
import pytest

@pytest.fixture(scope="session")
def database(): return 1

@pytest.fixture
def store(database): return database

def test_quick(): pass
def test_takes_a_slow_fixture(database): pass
def test_takes_it_by_another(store): pass
@pytest.mark.slow
def test_is_marked(): pass
"""


@pytest.mark.parametrize(("options", "counted"), [([], "4 passed"), (["--quick"], "1 passed, 3 deselected")])
def test_slow_tests_are_left_out_only_with_quick(tmp_path: Path, options: list[str], counted: str) -> None:
    (tmp_path / "test_some.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    done = subprocess.run(
        [*command, *options, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert f"{counted} in" in done.stdout, done.stdout + done.stderr


def test_slow_fixtures_exist() -> None:
    defined: set[str] = set()
    for part in parts(ROOT):
        for conftest in (ROOT / part).rglob("conftest.py"):
            defined.update(re.findall(r"^def (\w+)\(", conftest.read_text(encoding="utf-8"), re.MULTILINE))
    assert defined >= quick.SLOW_FIXTURES


def test_a_saved_file_runs_what_belongs_to_it() -> None:
    known = parts(ROOT)
    serving, training = Path("services/serving"), Path("training")
    assert {serving, training} <= set(known)
    assert run_by([serving / "src/serving/metrics.py"], known) == ["services/serving/tests"]
    assert run_by([training / "tests/test_data.py"], known) == ["training/tests/test_data.py"]
    assert run_by([training / "tests/conftest.py", training / "tests/test_data.py"], known) == ["training/tests"]
    assert run_by([serving / "pyproject.toml", training / "tests/test_data.py"], known) == [
        "services/serving/tests",
        "training/tests/test_data.py",
    ]
    assert run_by([Path("README.md"), Path("charts/minio/values.yaml")], known) == []
    assert run_by([serving / "src/serving/metrics.py"], [training]) == []
