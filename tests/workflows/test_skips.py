"""Proves that a test that is skipped fails the run, unless tests/skips.yaml lists it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import skips
from tests.workflows.workflow import ROOT

_SKIPS = {
    "called": "import pytest\ndef test_it(): pytest.skip('no time')\n",
    "marked": "import pytest\n@pytest.mark.skipif(True, reason='no time')\ndef test_it(): pass\n",
    "file": "import pytest\npytest.skip('no time', allow_module_level=True)\n",
}


def test_a_skip_that_is_not_listed_fails(tmp_path: Path) -> None:
    for kind, text in _SKIPS.items():
        (tmp_path / f"test_{kind}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    command += ["-c", "pyproject.toml"]  # without it, all plugins that are installed would be loaded
    done = subprocess.run(
        [*command, "--continue-on-collection-errors", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    for kind in _SKIPS:
        assert re.search(rf"^test_{kind}\.py\S*: Skipped: no time$", done.stdout, re.MULTILINE), done.stdout
    assert "1 passed" not in done.stdout
    assert "tests/skips.yaml" in done.stdout


def test_what_is_listed_is_there() -> None:
    listed = skips.read()
    assert [skip for skip in listed if not list(ROOT.glob(skip.tests.partition("::")[0]))] == []
    node, reason = "tests/clients/test_clients.py::test_it[Java-IPv4]", "Skipped: Java: not installed here: javac"
    assert skips.allowed(node, reason, listed)
    assert not skips.allowed(node, "Skipped: Java: too slow", listed)
    assert not skips.allowed("tests/clients/test_others.py::test_it", reason, listed)


def test_each_marked_skip_is_on_the_list_where_it_does_not_apply_too(request: pytest.FixtureRequest) -> None:
    # A machine that lacks a program would otherwise be the first to find out. `make test` collects every file,
    # and installs what `tools/install` can.
    listed = skips.read()
    unlisted = {
        item.nodeid: mark.kwargs["reason"]
        for item in request.session.items
        for mark in item.iter_markers("skipif")
        if "tools/install" not in mark.kwargs["reason"]
        and not skips.allowed(item.nodeid, mark.kwargs["reason"], listed)
    }
    assert not unlisted
