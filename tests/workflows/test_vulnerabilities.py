"""Proves tools/audit: known vulnerabilities fail without an exception, and so do packages that could not be checked.

govulncheck is the real one, with a small database. pip-audit is a stand-in with the real format of answers.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflows.workflow import ROOT
from tools.vulnerabilities.exceptions import read

KNOWN = {"id": "PYSEC-2019-179", "fix_versions": ["1.0"], "aliases": ["CVE-2019-1010083"], "description": ""}
FLASK = {"name": "flask", "version": "0.5", "vulns": [KNOWN]}
CLEAN = {"name": "idna", "version": "3.10", "vulns": []}
# A program that calls a vulnerable function of the database below, and one that does not.
CALLS = 'package main\n\nimport "net/url"\n\nfunc main() { _, _ = url.Parse("x") }\n'
IMPORTS = 'package main\n\nimport "net/url"\n\nfunc main() { _ = url.Values{} }\n'
ENTRY: dict[str, Any] = {
    "schema_version": "1.3.1",
    "id": "GO-2026-9999",
    "modified": "2026-01-02T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "aliases": ["CVE-2026-99999"],
    "summary": "Made up",
    "details": "Made up.",
    "affected": [
        {
            "package": {"name": "stdlib", "ecosystem": "Go"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "99.0.0"}]}],
            "ecosystem_specific": {"imports": [{"path": "net/url", "symbols": ["Parse"]}]},
        }
    ],
}


@dataclass(frozen=True)
class Place:
    """A repository with two locks and one Go program, and their known vulnerabilities."""

    root: Path

    def audit(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        database = f"--go-database=file://{self.root}/database"
        return subprocess.run(
            [self.root / "tools/audit", database, *options],
            cwd=self.root,
            env={**os.environ, "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
        )

    def known(self, *dependencies: dict[str, Any]) -> None:
        """Set the answer of pip-audit for the lock b; other locks are clean."""
        for name, found in (("b", dependencies), ("a", (CLEAN,))):
            (self.root / f"{name}.json").write_text(json.dumps({"dependencies": found, "fixes": []}))

    def leave(self, **until: int) -> None:
        """Write exceptions for a number of days, by names with _ instead of -; midnight may pass meanwhile."""
        today = datetime.now(UTC).date()
        left = [
            {"id": name.replace("_", "-"), "reason": "nothing of ours calls it", "until": today + timedelta(days=days)}
            for name, days in until.items()
        ]
        (self.root / ".vulnerabilities.yaml").write_text(yaml.safe_dump({"exceptions": left}))


@pytest.fixture(scope="module")
def govulncheck() -> Path:
    subprocess.run([ROOT / "tools/install", "govulncheck"], check=True, capture_output=True, timeout=900)
    return ROOT / ".cache/tools/bin/govulncheck"


@pytest.fixture
def place(tmp_path: Path, govulncheck: Path) -> Place:
    shutil.copytree(ROOT / "tools/vulnerabilities", tmp_path / "tools/vulnerabilities")
    shutil.copy(ROOT / "tools/audit", tmp_path / "tools")
    for folder in (
        "requirements",
        ".venv/bin",
        ".cache/tools/bin",
        "tools/go/program",
        "database/index",
        "database/ID",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / f"requirements/{name}.txt").write_text("")
    (tmp_path / ".venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / ".cache/tools/bin/govulncheck").symlink_to(govulncheck)
    audit = tmp_path / ".venv/bin/pip-audit"
    # Like the real one, it exits with 1 if there is a vulnerability.
    audit.write_text(
        '#!/bin/sh\ncase "$*" in *requirements/b.txt*) file=b ;; *) file=a ;; esac\n'
        "cat $file.json\n! grep -q PYSEC $file.json\n"
    )
    audit.chmod(0o755)
    (tmp_path / "tools/go/program/go.mod").write_text("module tools/program\n\ngo 1.26.0\n\ntool tools/program\n")
    (tmp_path / "tools/go/program/main.go").write_text(IMPORTS)
    index = tmp_path / "database/index"
    (tmp_path / "database/ID/GO-2026-9999.json").write_text(json.dumps(ENTRY))
    modified = {"id": ENTRY["id"], "modified": ENTRY["modified"]}
    (index / "db.json").write_text(json.dumps({"modified": ENTRY["modified"]}))
    (index / "modules.json").write_text(json.dumps([{"path": "stdlib", "vulns": [{**modified, "fixed": "99.0.0"}]}]))
    (index / "vulns.json").write_text(json.dumps([{**modified, "aliases": ENTRY["aliases"]}]))
    made = Place(tmp_path)
    made.known(CLEAN)
    return made


def test_clean_dependencies_pass(place: Place) -> None:
    done = place.audit()
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "requirements/a.txt", "requirements/b.txt", "tools/go/program"
    ]  # fmt: skip


def test_a_vulnerability_fails_without_an_exception_and_after_its_day(place: Place) -> None:
    place.known(CLEAN, FLASK)
    (place.root / "tools/go/program/main.go").write_text(CALLS)
    done = place.audit()
    assert done.returncode == 1
    assert "requirements/b.txt: flask 0.5: PYSEC-2019-179, CVE-2019-1010083 (mended in 1.0)" in done.stderr
    assert "tools/go/program: stdlib" in done.stderr
    assert "GO-2026-9999, CVE-2026-99999 (mended in v99.0.0)" in done.stderr

    place.leave(CVE_2019_1010083=9, GO_2026_9999=9)
    done = place.audit()
    assert done.returncode == 0, done.stderr
    place.leave(CVE_2019_1010083=0, GO_2026_9999=9)
    done = place.audit("--only", "python")
    assert done.returncode == 1
    assert re.search(
        r"CVE-2019-1010083 was excepted until (\S+) \(nothing of ours calls it\): check again", done.stderr
    )


def test_an_unneeded_exception_is_reported_and_fails_after_its_day(place: Place) -> None:
    place.leave(CVE_2019_1010083=9)
    done = place.audit()
    assert (done.returncode, "is no longer found" in done.stdout) == (0, True)
    place.leave(CVE_2019_1010083=-1)
    assert place.audit("--only", "python").returncode == 1


def test_unchecked_packages_fail(place: Place) -> None:
    """pip-audit exits with 0 for packages that its database does not have."""
    place.known(CLEAN, {"name": "uv", "skip_reason": "Dependency not found on PyPI and could not be audited: uv (0.9)"})
    done = place.audit("--only", "python")
    assert done.returncode == 1
    assert "requirements/b.txt: 1 packages were not checked, such as: Dependency not found" in done.stderr
    shutil.rmtree(place.root / "database")
    done = place.audit("--only", "go")
    assert done.returncode == 1
    assert "govulncheck" in done.stderr


@pytest.mark.parametrize(
    "text", ["exceptions: [{id: CVE-1}]", "exceptions: [{id: X, reason: short, until: 2026-01-01}]", "a: ["]
)
def test_exceptions_need_a_reason_and_a_day(place: Place, text: str) -> None:
    (place.root / ".vulnerabilities.yaml").write_text(text)
    done = place.audit()
    assert (done.returncode, ".vulnerabilities.yaml is not valid" in done.stderr) == (1, True)


def test_our_own_exceptions_can_be_read() -> None:
    assert all(each.reason for each in read(ROOT))
