"""The packages of the MLflow image, installed from its own lock for a separate Python: the sign-in needs 3.12."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from embedded.processes import program
from tests.support.helm import ROOT

LEAST = (3, 12)
MISSING = "the plugin of MLflow's sign-in needs Python 3.12 or newer, and none is on PATH"
_CHECK = f"import sys, venv, ensurepip; sys.exit(sys.version_info < {LEAST})"


def python() -> str | None:
    """Return a Python that the image's lock can be installed for, or None."""
    return next((found for found in _candidates() if _fits(found)), None)


def installed(interpreter: str) -> Path:
    """Return the environment with the image's packages. It is made once, and again when the lock changes."""
    folder = ROOT / ".cache" / "mlflow-image"
    lock = ROOT / "requirements" / "mlflow.txt"
    made, wanted = folder / ".lock", hashlib.sha256(lock.read_bytes()).hexdigest()
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "mlflow-image.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--quiet", "--python", interpreter, str(folder))
            into = ("--python", str(folder / "bin/python"))
            # Compiled now: otherwise each of the first servers would compile thousands of files while it starts.
            _uv(
                "pip", "install", "--quiet", "--compile-bytecode", *into, "--require-hashes", "--requirement", str(lock)
            )
            made.write_text(wanted)
    return folder


def _uv(*arguments: str) -> None:
    done = subprocess.run([program("uv"), *arguments], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def _candidates() -> Iterator[str]:
    yield sys.executable
    for minor in (12, 13, 14):
        if found := shutil.which(f"python3.{minor}"):
            yield found
    # The programs on PATH are pyenv's shims, which fail for versions that are not enabled.
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(found) for found in sorted(versions.glob("3.*/bin/python3")))


def _fits(candidate: str) -> bool:
    return subprocess.run([candidate, "-c", _CHECK], capture_output=True, timeout=60, check=False).returncode == 0
