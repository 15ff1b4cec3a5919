"""The programs that the workflows' checks and scripts need, and a registry and a repository for them."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.once import made_once
from tests.workflows.fork import Fork
from tests.workflows.workflow import ROOT

_SERVING = re.compile(r"serving on port (\d+)")


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the Go programs, which are built if they are missing."""
    subprocess.run(
        [ROOT / "tools/install", "actionlint", "crane", "helm"], check=True, capture_output=True, timeout=900
    )
    return ROOT / ".cache/tools/bin"


@contextlib.contextmanager
def serving_registry(tools: Path, host: str) -> Iterator[str]:
    """Run an empty OCI registry over plain HTTP: crane's own, which keeps everything in memory."""
    command = [str(tools / "crane"), "registry", "serve", "--address", f"{host}:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            match = next((found for line in server.stderr if (found := _SERVING.search(line))), None)
            assert match, "the registry ended before it was ready"
            yield f"{host}:{match[1]}"
        finally:
            server.terminate()


@pytest.fixture
def registry(tools: Path) -> Iterator[str]:
    """The address of a registry that programs treat as local, so they use plain HTTP."""
    with serving_registry(tools, "127.0.0.1") as address:
        yield address


@pytest.fixture
def remote_registry(tools: Path) -> Iterator[str]:
    """The address of a registry that Helm treats as remote, so it uses HTTPS by default."""
    with serving_registry(tools, "127.0.0.2") as address:
        yield address


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, tools: Path) -> Fork:
    """A repository with the scripts and real charts, which tests copy."""
    folder = made_once(tmp_path_factory, "scripts", lambda made: _made(made / "fork", tools))
    return Fork(root=folder / "fork", prefix="", crane=tools / "crane")


def _made(root: Path, tools: Path) -> None:
    made = Fork.make(root, tools)
    # Each test copies it, and one pack is faster to copy than hundreds of files.
    made.git("repack", "-a", "-d", "--quiet")


@pytest.fixture
def fork(original: Fork, tmp_path: Path, registry: str) -> Fork:
    """A repository with the scripts and real charts, and an empty registry."""
    return original.copied(tmp_path / "fork", registry)
