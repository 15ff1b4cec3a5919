"""The scanners, which report their findings as JSON."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

_SECONDS = 1800
_TAGS = re.compile(r"^// tags: (\S+)$", re.MULTILINE)


class ScannerError(Exception):
    """A scanner failed, or could not check everything; the message says which and why."""


class Finding(Struct, frozen=True, kw_only=True):
    """A known vulnerability of a locked dependency."""

    where: str
    """The lock, or the folder of the go.mod."""
    what: str
    """The package or module, with its version."""
    names: tuple[str, ...]
    """All names of the vulnerability, the scanner's own name first."""
    fixed: str
    """The versions that fix it; empty if there is none."""


class _Vulnerability(Struct):
    id: str
    aliases: list[str] = []
    fix_versions: list[str] = []


class _Dependency(Struct):
    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: list[_Vulnerability] = []


class _Audit(Struct):
    dependencies: list[_Dependency]


class _Entry(Struct):
    id: str
    aliases: list[str] = []


class _Frame(Struct):
    module: str
    version: str = ""
    function: str = ""


class _Found(Struct):
    osv: str
    trace: list[_Frame]
    fixed_version: str = ""


class _Message(Struct):
    osv: _Entry | None = None
    finding: _Found | None = None


def of_lock(root: Path, lock: Path) -> list[Finding]:
    """Return known vulnerabilities of the packages in a hashed lock.

    Raises:
        ScannerError: pip-audit failed, or does not know a package.
    """
    # The lock is complete, so pip needs to resolve and install nothing.
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    program = root / ".venv/bin/pip-audit"
    said = _run([str(program), "--requirement", str(lock), *options], root, {0, 1})
    try:
        audit = msgspec.json.decode(said, type=_Audit)
    except msgspec.DecodeError as error:
        raise ScannerError(f"pip-audit did not report what it found in {lock}: {error}") from None
    # pip-audit exits with 0 for these, as if they had no vulnerability.
    if skipped := [each.skip_reason for each in audit.dependencies if each.skip_reason]:
        raise ScannerError(f"{lock}: {len(skipped)} packages were not checked, such as: {skipped[0]}")
    return [
        Finding(
            where=str(lock),
            what=f"{each.name} {each.version}",
            names=(found.id, *found.aliases),
            fixed=", ".join(found.fix_versions),
        )
        for each in audit.dependencies
        for found in each.vulns
    ]


def of_tools(root: Path, folder: Path, database: str = "") -> list[Finding]:
    """Return known vulnerabilities whose code may be called by the programs in a go.mod's `tool` lines.

    Raises:
        ScannerError: govulncheck failed.
    """
    text = (root / folder / "go.mod").read_text(encoding="utf-8")
    packages = [match[1] for match in re.finditer(r"^tool (\S+)$", text, re.MULTILINE)]
    tags = _TAGS.findall(text)
    command = [str(root / ".cache/tools/bin/govulncheck"), "-C", str(folder), "-format", "json"]
    command += [f"-db={database}"] if database else []
    command += [f"-tags={tags[0]}"] if tags else []
    messages = list(_messages(_run([*command, *packages], root, {0}), folder))
    aliases = {entry.id: entry.aliases for each in messages if (entry := each.osv)}
    found = {
        (finding.osv, frame.module): Finding(
            where=str(folder),
            what=f"{frame.module} {frame.version}",
            names=(finding.osv, *aliases.get(finding.osv, [])),
            fixed=finding.fixed_version,
        )
        for each in messages
        if (finding := each.finding)
        # govulncheck also reports the module and the package, even if nothing calls the vulnerable code.
        if (frame := finding.trace[0]).function
    }
    return list(found.values())


def _messages(said: str, folder: Path) -> Iterator[_Message]:
    decoder, rest = json.JSONDecoder(), said.strip()
    try:
        while rest:
            value, end = decoder.raw_decode(rest)
            yield msgspec.convert(value, _Message)
            rest = rest[end:].lstrip()
    except (ValueError, msgspec.ValidationError) as error:
        raise ScannerError(f"govulncheck did not report what it found in {folder}: {error}") from None


def _run(command: Sequence[str], root: Path, ended_well: set[int]) -> str:
    go = root / ".venv/bin/go"
    path = os.pathsep.join([*([str(go.parent)] if go.exists() and not shutil.which("go") else []), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ScannerError(f"{name} is missing: run make .venv/.dev and tools/install govulncheck") from None
    except subprocess.TimeoutExpired:
        raise ScannerError(f"{name} did not end within {_SECONDS} s: {' '.join(command)}") from None
    if done.returncode not in ended_well:
        last = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ScannerError(f"{' '.join(command)} failed: {last[-1]}")
    return done.stdout
