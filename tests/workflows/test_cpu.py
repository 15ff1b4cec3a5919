"""`--cpu` adds the CPU time of a test's programs to its file, also if the test ran in another worker."""

import re
import subprocess
import sys
from pathlib import Path

from tests.workflows.workflow import ROOT

_BUSY = """
import subprocess, sys
LOOP = "import time\\nwhile time.process_time() < 0.5: pass"
def test_it(): subprocess.run([sys.executable, "-c", LOOP], check=True)
"""


def test_programs_of_a_test_count_for_its_file(tmp_path: Path) -> None:
    (tmp_path / "test_busy.py").write_text(_BUSY)
    (tmp_path / "test_idle.py").write_text("def test_it(): pass\n")
    command = [sys.executable, "-m", "pytest", "--cpu", "-q", "-n", "1", "-p", "conftest", "-p", "no:cacheprovider"]
    command += ["-c", "pyproject.toml", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^ *([0-9.]+) s  (test_\w+)\.py$", done.stdout, re.MULTILINE)
    seconds = {file: float(figure) for figure, file in found}
    assert seconds["test_busy"] >= 0.4
    assert seconds["test_busy"] > seconds["test_idle"]
