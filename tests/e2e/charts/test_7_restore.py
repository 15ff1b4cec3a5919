"""A backup restores every row, also on a new, empty server, and the volume outlives its release."""

import pytest

from tests.e2e.charts.stack import Stack
from tests.e2e.report import Report

pytestmark = pytest.mark.timeout(400)


def test_a_dropped_database_is_restored(stack: Stack, report: Report) -> None:
    rows, registry, objects = stack.rows(), stack.registry(), stack.objects()
    stack.kube.run_cronjob(stack.platform, "postgres-backup", "back-up", seconds=120)
    stack.sql("DROP DATABASE mlflow WITH (FORCE)")
    assert "mlflow" not in stack.sql("SELECT datname FROM pg_database").split()

    # A pod starts without a registry: its pins say where the model is and which digest it has.
    stack.kube.delete(stack.serving, f"pod/{stack.serving_pods()[0]['metadata']['name']}")
    stack.wait_enough_pods()
    stack.kube.run_cronjob(stack.platform, "postgres-restore", "restore", seconds=120)

    restored, restored_registry = stack.rows(), stack.registry()
    what = [("experiments", registry.experiments, restored_registry.experiments),
            ("runs", registry.runs, restored_registry.runs),
            ("metrics", registry.metrics, restored_registry.metrics),
            ("model versions", len(registry.versions), len(restored_registry.versions)),
            ("objects in S3", objects["objects"], stack.objects()["objects"])]  # fmt: skip
    tables = [(f"rows of `{table}`", count, restored.get(table, 0)) for table, count in rows.items() if count]
    report.table("Before and after the restore", [("what", "before", "after"), *what, *tables])
    assert (restored, restored_registry, stack.objects()) == (rows, registry, objects)


def test_a_forged_backup_is_refused(stack: Stack, report: Report) -> None:
    rows = stack.rows()
    stack.forged_backup()
    try:
        with pytest.raises(AssertionError, match="Nothing restored: the signature of 2999-01-01"):
            stack.kube.run_cronjob(stack.platform, "postgres-restore", "restore-forged", seconds=120)
    finally:
        stack.forged_backup(remove=True)
    report.add("A backup forged with the store's own keys", "refused: not signed with the key, which the store lacks")
    assert stack.rows() == rows


def test_a_new_server_restores_the_backup(stack: Stack, report: Report) -> None:
    rows = stack.rows()
    stack.helm.install(stack.postgres_release("postgres-new"))
    assert (
        stack.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", "postgres-new", "mlflow")
        == "0\n"
    )

    stack.kube.run_cronjob(stack.platform, "postgres-new-restore", "restore-new", seconds=120)

    restored = stack.rows("postgres-new")
    report.add("A restore onto a new server", f"{sum(rows.values())} rows before, {sum(restored.values())} after")
    assert restored == rows


def test_the_data_outlives_the_release(stack: Stack) -> None:
    rows, registry = stack.rows(), stack.registry()

    stack.helm.uninstall(stack.postgres_release())
    stack.helm.install(stack.postgres_release())

    assert (stack.rows(), stack.registry()) == (rows, registry)
