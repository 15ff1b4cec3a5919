"""The dashboard Delivery: does the cluster run what is in git, since when, and what was deployed."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.parts import (
    Panel,
    Row,
    Step,
    deployments,
    environment,
    firing,
    frame,
    increase,
    lines,
    listing,
    model,
    number,
    quantile,
    service,
    variable,
)

_APP = 'name=~"$app"'
_HERE = 'namespace=~"$namespace", job=~"$job"'
_MODEL = f'{_HERE}, name=~"$model"'
_PINNED = f"serving_pinned_model_info{{{_MODEL}}}"
_SERVED = f"serving_model_info{{{_MODEL}}}"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows: list[Row] = [
        (4, _at_a_glance()),
        (9, _applications()),
        (7, _versions()),
        (8, _pins()),
        (8, _work()),
        (6, [firing("Argo.*|ServingVersion.*", "name")]),
    ]
    return (
        frame("delivery", "Delivery", "Does the cluster run what git says, since when, and what was deployed?", rows)
        .with_variable(environment())
        .with_variable(service())
        .with_variable(model(_HERE))
        .with_variable(variable("app", "Application", "label_values(argocd_app_info, name)"))
        .annotation(deployments())
        .build()
    )


def _at_a_glance() -> list[Panel]:
    none_wrong: list[Step] = [(None, "green"), (1, "red")]
    version = "namespace, job, name, version"
    unserved = f"group by ({version}) ({_PINNED}) unless on ({version}) {_SERVED}"

    def count(title: str, description: str, what: str) -> Panel:
        return number(title, description, "none", (f"count({what}) or vector(0)", ""), steps=none_wrong)

    return [
        count(
            "Out of sync",
            "Applications that differ from git, or whose state Argo CD does not know.",
            f'argocd_app_info{{{_APP}, sync_status!="Synced"}}',
        ),
        count(
            "Not healthy",
            "Applications that are degraded, missing something, or still starting.",
            f'argocd_app_info{{{_APP}, health_status!~"Healthy|Suspended"}}',
        ),
        count(
            "Not synced by itself",
            "Applications whose automated syncs are off, as after a rollback by hand.",
            f'argocd_app_info{{{_APP}, autosync_enabled="false"}}',
        ),
        count("Pins that no pod serves", "Versions that git names and no pod serves.", unserved),
    ]


def _applications() -> list[Panel]:
    columns = ["name", "project", "dest_namespace", "sync_status", "health_status", "operation", "phase"]
    return [
        listing(
            "Applications",
            "The state of each application in Argo CD now.",
            f"max by ({', '.join(columns)}) (argocd_app_info{{{_APP}}})",
            columns,
        )
    ]


def _versions() -> list[Panel]:
    columns = ["namespace", "job", "name", "version", "digest"]
    by = ", ".join(columns)
    return [
        listing(
            "Pinned",
            "The pins of each environment in git, and how many pods have them.",
            f"count by ({by}) ({_PINNED})",
            columns,
        ),
        listing(
            "Served",
            "The versions that each environment serves, and in how many pods.",
            f"count by ({by}) ({_SERVED})",
            columns,
        ),
    ]


def _pins() -> list[Panel]:
    pin = f"group by (namespace, job, name, version, digest) ({_PINNED})"
    return [
        number(
            "Age of the pins",
            "How long each environment has had its pins, in whole hours, up to 14 days.",
            "s",
            (f"3600 * count_over_time({pin}[14d:1h]) and {pin}", "{{namespace}} {{job}} {{version}}"),
        ),
        lines(
            "Pods by version",
            "During a rollout, one version replaces another.",
            "none",
            [(f"count by (namespace, job, name, version) ({_SERVED})", "{{namespace}} {{job}} {{version}}")],
        ),
    ]


def _work() -> list[Panel]:
    syncs = increase("argocd_app_sync_total", f'{_APP}, dry_run="false"')
    return [
        lines(
            "Syncs",
            "Operations that ended, by result.",
            "none",
            [(f"sum by (name, phase) ({syncs})", "{{name}} {{phase}}")],
        ),
        lines(
            "Time of a comparison",
            "How long Argo CD takes to compare an application with git.",
            "s",
            [(quantile(share, "argocd_app_reconcile", ""), name) for share, name in ((0.5, "p50"), (0.99, "p99"))],
        ),
    ]
