"""MLflow's tables, made once a run: all of its migrations take seconds of a processor, and few tests are about them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.processes import program
from tests.support.once import made_once

_FILE = "mlflow.db"


def tables(factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with MLflow's tables, which hold nothing; tests take copies of it."""
    return made_once(factory, "mlflow-tables", lambda folder: make_tables(f"sqlite:///{folder / _FILE}")) / _FILE


def with_tables(factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Put a copy of that file where `mlflow_server(folder)` looks for its database, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tables(factory), folder / _FILE)
    return folder


def make_tables(address: str) -> None:
    """Make MLflow's tables in the empty database at an SQLAlchemy address, by its own command."""
    command = [program("mlflow"), "db", "upgrade", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
