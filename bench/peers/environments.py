"""Virtual environments of the servers, created once from their locks and kept under .cache/peers."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from embedded.processes import program

CACHE = Path(".cache/peers")
_OWN_PARTS = ("packages/modelformat", "services/serving")
_LOCKS = Path("requirements/peers")
_COMPLETE = ".complete"
_INSTALL_SECONDS = 900


class EnvironmentFailedError(RuntimeError):
    """An environment could not be created. The message has the installer's last lines."""


class Environment(msgspec.Struct, frozen=True):
    """A virtual environment."""

    bin: Path
    version: str
    """Of the server; empty for this project's."""
    megabytes: float
    """The size of its files, with bytecode and without Python itself."""


def prepare(name: str) -> Environment:
    """Return the environment of a server. Create it if it is missing or its lock has changed.

    Args:
        name: `serving` for this project, otherwise the name of a lock under requirements/peers.

    Raises:
        EnvironmentFailedError: it could not be created.
    """
    own = name == "serving"
    lock = Path("requirements/serving.txt") if own else _LOCKS / f"{name}.txt"
    if not lock.is_file():
        raise EnvironmentFailedError(f"{lock} is missing: run make lock")
    parts = _OWN_PARTS if own else ()
    content = lock.read_bytes() + b"".join((Path(part) / "pyproject.toml").read_bytes() for part in parts)
    stamp = hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]
    folder = (CACHE / f"{name}-{stamp}").absolute()
    if not (folder / _COMPLETE).exists():
        for stale in CACHE.glob(f"{name}-*"):
            shutil.rmtree(stale)
        sys.stderr.write(f"installing {name} into {folder.relative_to(Path.cwd())} (once)\n")
        _make(folder)
        _install(folder, ["--require-hashes", "-r", str(lock)])
        if own:
            _install(folder, ["--no-deps", *(word for part in parts for word in ("-e", part))])
        (folder / _COMPLETE).touch()
    if own:
        # The environment uses the source in place. Compile it as in the image, whatever PYTHONDONTWRITEBYTECODE says.
        _run([str(folder / "bin/python"), "-m", "compileall", "-q", *(f"{part}/src" for part in parts)])
    locked = re.search(rf"^{name}==(\S+)", lock.read_text(), re.MULTILINE)
    return Environment(folder / "bin", locked[1] if locked else "", _megabytes(folder))


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])


def _install(folder: Path, arguments: list[str]) -> None:
    python = str(folder / "bin/python")
    _run([program("uv"), "pip", "install", "--python", python, "--compile-bytecode", *arguments])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise EnvironmentFailedError("\n".join(error.stderr.strip().splitlines()[-5:])) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailedError(f"its installation took over {_INSTALL_SECONDS} s") from error


def _megabytes(folder: Path) -> float:
    files = [Path(parent, file) for parent, _, files in os.walk(folder) for file in files]
    return sum(file.lstat().st_size for file in files) / 1e6
