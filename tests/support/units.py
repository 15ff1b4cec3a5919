"""Divide the tests into units for the workers of `pytest -n`, and set the order of the units."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

# Beginnings of paths of tests that share something slow to make: a server, a stack, a rendered repository. One worker
# runs all of them, so it is made once. The test functions of any other file go to the next free worker.
_SHARED = ("tests/observability/", "tests/charts/test_mlflow", "tests/store/", "tests/forges/test_sign_in")
_SHARED_IN_A_FILE = (
    *("tests/integration/", "tests/e2e/", "tests/faults/", "tests/clients/"),
    *("tests/charts/test_postgres", "tests/charts/test_minio", "tests/workflows/test_site"),
)
# Files that use the same slow fixtures of a session, by name: an MLflow with its database, and whole rendered
# repositories. The tests of faults use a separate MLflow, so no worker has a very long unit.
TOGETHER = {
    "mlflow_on_s3": (
        *("tests/integration/test_data_to_prediction.py", "tests/integration/test_serving_outages.py"),
        *("tests/integration/test_training_keys.py", "tests/integration/test_training_sources.py"),
        "tests/integration/test_serving_registry.py::test_one_file_of_authorities_is_for_mlflow_and_s3",
    ),
    "mlflow_proxied": (
        *(f"tests/integration/test_serving_{name}.py" for name in ("models", "openinference", "registry")),
        *(f"tests/integration/test_serving_{name}.py" for name in ("smoke", "tracing", "versions")),
    ),
    "mlflow_proxied, faults": ("tests/faults/test_hostile_models.py", "tests/faults/test_servers.py"),
    "everything, grown, wide": tuple(
        f"tests/gitops/test_{name}.py"
        for name in ("additions", "installation", "isolation", "layout", "monitoring", "rules")
    ),
}


def unit_of(node: str) -> str:
    """Return the name of the unit of a test, from its node id."""
    path, _, function = node.partition("::")
    for beginning in _SHARED:
        if path.startswith(beginning):
            return beginning
    for fixtures, beginnings in TOGETHER.items():
        if node.startswith(beginnings):
            return fixtures
    return path if path.startswith(_SHARED_IN_A_FILE) else f"{path}::{function.partition('[')[0]}"


class UnitScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Distributes units in the order in which their first tests were collected, which is that of the command line."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def remove_node(self, node: Any) -> str | None:
        """Return the remaining tests of a crashed worker to the others, and return the test that crashed it.

        The scheduler of pytest-xdist 3.8 would run that test again, which crashes one worker after the other, and then
        wait forever.
        """
        units = self.assigned_work.pop(node)
        left: list[tuple[str, str]] = [
            (unit, test) for unit, tests in units.items() for test, done in tests.items() if not done
        ]
        if not left:
            return None
        unit, ended_by = left[0]
        others = left[1:]
        units[unit][ended_by] = True
        self.workqueue.update({unit: units[unit] for unit, _ in others})
        for other in self.assigned_work:
            self._reschedule(other)
        return ended_by
