"""The dashboard Platform: MLflow, Postgres, the store, backups and training."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.parts import (
    Panel,
    Query,
    Row,
    Step,
    firing,
    frame,
    lines,
    listing,
    number,
    quantile,
    rate,
    variable,
)

_HERE = 'namespace=~"$namespace"'
_HOUR = 3600
# Jobs of CronJobs, whose own names are random.
_TRAINING = f'kube_job_owner{{{_HERE}, owner_kind="CronJob", owner_name=~"training-.+"}}'


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows: list[Row] = [
        (4, _at_a_glance()),
        (8, _mlflow()),
        (8, _postgres()),
        (8, _minio()),
        (8, _sizes()),
        (8, _seaweedfs()),
        (8, _jobs()),
        (6, [firing("Mlflow.*|Minio.*|Seaweedfs.*|Postgres.*")]),
    ]
    return (
        frame("platform", "Platform", "Do the registry, its stores, backups and training work?", rows)
        .with_variable(variable("namespace", "Namespace", 'label_values(up{job="mlflow"}, namespace)'))
        .build()
    )


def _at_a_glance() -> list[Panel]:
    up: list[Step] = [(None, "red"), (1, "green")]
    free = "minio_cluster_capacity_usable_free_bytes"
    total = "minio_cluster_capacity_usable_total_bytes"
    success = "kube_cronjob_status_last_successful_time"
    return [
        number("MLflow", "1 while it answers.", "none", (f'max(up{{{_HERE}, job="mlflow"}})', ""), steps=up),
        number("MinIO", "1 while it answers.", "none", (f'max(up{{{_HERE}, job="minio"}})', ""), steps=up),
        number("Postgres", "1 while it answers.", "none", (f"max(pg_up{{{_HERE}}})", ""), steps=up),
        number(
            "Free space of MinIO",
            "Alerted below ${platform.minFreeRatio:percent}.",
            "percentunit",
            (f"min({free}{{{_HERE}}} / {total}{{{_HERE}}})", ""),
            steps=[(None, "red"), ("${platform.minFreeRatio}", "orange"), (0.2, "green")],
        ),
        number(
            "Age of the last backup",
            "Since the last backup of Postgres that succeeded. An alert fires after 36 hours.",
            "s",
            (f'time() - max({success}{{{_HERE}, cronjob="postgres-backup"}})', ""),
            steps=[(None, "green"), (26 * _HOUR, "orange"), (36 * _HOUR, "red")],
        ),
        number(
            "Last training",
            "Since the last training of any model that succeeded.",
            "s",
            (f'time() - max({success}{{{_HERE}, cronjob=~"training-.+"}})', ""),
        ),
    ]


def _mlflow() -> list[Panel]:
    duration = "mlflow_http_request_duration_seconds"
    return [
        lines(
            "MLflow requests by status",
            "Requests to the tracking server, without health checks.",
            "reqps",
            [(f"sum by (status) ({rate('mlflow_http_request_total', _HERE)})", "{{status}}")],
            stacked=True,
        ),
        lines(
            "MLflow latency",
            "Of the same requests.",
            "s",
            [(quantile(share, duration, _HERE), name) for share, name in ((0.5, "p50"), (0.99, "p99"))],
        ),
    ]


def _postgres() -> list[Panel]:
    hit, read = (f"sum({rate(f'pg_stat_database_blks_{how}', _HERE)})" for how in ("hit", "read"))
    return [
        lines(
            "Postgres connections",
            "In use, and the maximum.",
            "none",
            [
                (f"sum(pg_stat_database_numbackends{{{_HERE}}})", "in use"),
                (f"max(pg_settings_max_connections{{{_HERE}}})", "maximum"),
            ],
        ),
        lines(
            "Postgres transactions",
            "Committed and rolled back.",
            "ops",
            [
                (f"sum({rate('pg_stat_database_xact_commit', _HERE)})", "committed"),
                (f"sum({rate('pg_stat_database_xact_rollback', _HERE)})", "rolled back"),
            ],
        ),
        lines(
            "Postgres reads from memory",
            "Share of the blocks that were in the server's own cache. Below 90 % for long, it has too little memory.",
            "percentunit",
            [(f"{hit} / ({hit} + {read})", "found")],
        ),
    ]


def _minio() -> list[Panel]:
    def requests(kind: str) -> str:
        return f"sum({rate(f'minio_s3_requests_{kind}', _HERE)})"

    return [
        lines(
            "MinIO requests",
            "S3 requests, and those that failed.",
            "reqps",
            [(requests("total"), "all"), (requests("4xx_errors_total"), "4xx"), (requests("5xx_errors_total"), "5xx")],
        ),
        lines(
            "MinIO traffic",
            "Bytes in and out.",
            "Bps",
            [
                (f"sum({rate('minio_s3_traffic_received_bytes', _HERE)})", "received"),
                (f"sum({rate('minio_s3_traffic_sent_bytes', _HERE)})", "sent"),
            ],
        ),
    ]


def _seaweedfs() -> list[Panel]:
    def requests(codes: str) -> str:
        return f"sum({rate('SeaweedFS_s3_request_total', f'{_HERE}{codes}')})"

    def disk(kind: str) -> str:
        return f'SeaweedFS_volumeServer_resource{{{_HERE}, type="{kind}"}}'

    return [
        lines(
            "SeaweedFS requests",
            "S3 requests, and those that failed.",
            "reqps",
            [(requests(""), "all"), *((requests(f', code=~"{n}.."'), f"{n}xx") for n in (4, 5))],
        ),
        lines(
            "Free space of SeaweedFS",
            "Of the disk of each server. An alert fires below ${platform.minFreeRatio:percent}.",
            "percentunit",
            [(f"min by (pod) ({disk('avail')} / ignoring (type) {disk('all')})", "{{pod}}")],
        ),
        lines(
            "SeaweedFS volumes",
            "In use, and the maximum of each server. The first write to a bucket creates seven.",
            "none",
            [
                (f"sum by (pod) (SeaweedFS_volumeServer_volumes{{{_HERE}}})", "{{pod}}"),
                (f"max by (pod) (SeaweedFS_volumeServer_max_volumes{{{_HERE}}})", "{{pod}} at most"),
            ],
        ),
    ]


def _sizes() -> list[Panel]:
    return [
        lines(
            "Size of the databases",
            "On disk.",
            "bytes",
            [(f"sum by (datname) (pg_database_size_bytes{{{_HERE}}})", "{{datname}}")],
        ),
        lines(
            "MinIO usage",
            "Size of the objects. MinIO counts them from time to time, so the figure lags behind.",
            "bytes",
            [(f"max(minio_cluster_usage_total_bytes{{{_HERE}}})", "in use")],
        ),
        lines(
            "MinIO objects",
            "Models, plots and backups.",
            "none",
            [(f"max(minio_cluster_usage_object_total{{{_HERE}}})", "objects")],
        ),
    ]


def _jobs() -> list[Panel]:
    def runs(metric: str, result: str) -> Query:
        return f'sum({metric}{{{_HERE}, condition="true"}} and on (namespace, job_name) {_TRAINING})', result

    took = f"(kube_job_status_completion_time{{{_HERE}}} - kube_job_status_start_time{{{_HERE}}})"
    return [
        lines(
            "Training runs",
            "Training Jobs that still exist, by result. Those that the gate refused count as failed.",
            "none",
            [runs("kube_job_complete", "succeeded"), runs("kube_job_failed", "failed")],
        ),
        lines(
            "Duration of training runs",
            "From start to end, of those that succeeded.",
            "s",
            [(f"{took} and on (namespace, job_name) {_TRAINING}", "{{job_name}}")],
        ),
        listing(
            "Scheduled jobs",
            "1 if a CronJob is suspended, so that it never starts by itself.",
            f"max by (namespace, cronjob) (kube_cronjob_spec_suspend{{{_HERE}}})",
            ["namespace", "cronjob"],
        ),
    ]
