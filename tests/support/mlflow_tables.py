"""MLflow's tables, made once a run: all migrations take seconds of CPU time, and few tests are about them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from embedded.processes import program
from tests.support.once import made_once

_FILE = "mlflow.db"


def tables(factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with MLflow's empty tables, of which tests take copies."""
    return made_once(factory, "mlflow-tables", lambda folder: make_tables(f"sqlite:///{folder / _FILE}")) / _FILE


def with_tables(factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Copy that file to the path where `mlflow_server(folder)` expects its database, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tables(factory), folder / _FILE)
    return folder


def make_tables(address: str) -> None:
    """Make MLflow's tables in the empty database at an SQLAlchemy address, with MLflow's own command."""
    command = [program("mlflow"), "db", "upgrade", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
