"""Look for known vulnerabilities in every lock of requirements/ and every go.mod of tools/go.

Exceptions are in .vulnerabilities.yaml, each with a reason and a day; from that day on they fail here.
Everything is looked at, also after something that fails.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tools.vulnerabilities.exceptions import FILE, ExceptionsError, Left, read
from tools.vulnerabilities.scanners import Finding, ScannerError, of_lock, of_tools


def main() -> int:
    """Run the command; return 1 if something is vulnerable, expired, or could not be checked."""
    parser = argparse.ArgumentParser(prog="tools/audit", description=__doc__)
    parser.add_argument("--only", choices=["python", "go"], help="check only one kind")
    parser.add_argument(
        "--go-database",
        default="",
        metavar="URL",
        help="the database to use instead of https://vuln.go.dev; may be file://",
    )
    options = parser.parse_args()
    root = Path.cwd()
    try:
        left = read(root)
    except ExceptionsError as error:
        print(f"tools/audit: {error}", file=sys.stderr)
        return 1
    problems = list(_expired(left))
    used: set[str] = set()
    for where, found in _scanned(root, options.only, options.go_database):
        if isinstance(found, ScannerError):
            problems.append(str(found))
            continue
        for finding in found:
            if names := {each.id for each in left} & set(finding.names):
                used |= names
            else:
                problems.append(_told(finding))
        print(f"{where}: checked, {len(found)} known")
    for each in left:
        if each.id not in used and not options.only:
            print(f"{FILE}: {each.id} is no longer found: remove it")
    for problem in problems:
        print(f"tools/audit: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _scanned(root: Path, only: str | None, database: str) -> Iterator[tuple[Path, list[Finding] | ScannerError]]:
    locks = [path.relative_to(root) for path in sorted(root.glob("requirements/*.txt"))]
    modules = [path.parent.relative_to(root) for path in sorted(root.glob("tools/go/*/go.mod"))]
    scans: list[tuple[Path, Callable[[], list[Finding]]]] = []
    if only != "go":
        scans += [(lock, partial(of_lock, root, lock)) for lock in locks]
    if only != "python":
        scans += [(folder, partial(of_tools, root, folder, database)) for folder in modules]
    for where, scan in scans:
        try:
            yield where, scan()
        except ScannerError as error:
            yield where, error


def _expired(left: list[Left]) -> Iterator[str]:
    today = datetime.now(UTC).date()
    for each in left:
        if each.until <= today:
            what = f"{FILE}: {each.id} was excepted until {each.until} ({each.reason})"
            yield f"{what}: check again, then fix it or set a later day"


def _told(finding: Finding) -> str:
    way_out = f"mended in {finding.fixed}" if finding.fixed else "no version fixes it yet"
    return f"{finding.where}: {finding.what}: {', '.join(finding.names)} ({way_out})"


sys.exit(main())
