"""The source of every metric that a rule or a dashboard may use.

The metrics of the serving API and MLflow are read from running servers. The others need a cluster, so they are listed
here from the documentation of the versions that the charts run.
"""

import re

from tests.observability.content import rules

_ENDINGS = {"histogram": ("_bucket", "_sum", "_count")}

# prometheus-flask-exporter with MLflow's prefix. A test compares this with the real server.
MLFLOW = {
    "mlflow_http_request_total",
    "mlflow_http_request_duration_seconds_bucket",
    "mlflow_http_request_duration_seconds_sum",
    "mlflow_http_request_duration_seconds_count",
}

# Prometheus makes these for every target and every rule.
PROMETHEUS = {"up", "ALERTS"}

ELSEWHERE = {
    # https://github.com/minio/minio/blob/master/docs/metrics/prometheus/list.md, /minio/v2/metrics/cluster
    "MinIO": {
        "minio_cluster_capacity_usable_free_bytes",
        "minio_cluster_capacity_usable_total_bytes",
        "minio_cluster_usage_object_total",
        "minio_cluster_usage_total_bytes",
        "minio_s3_requests_4xx_errors_total",
        "minio_s3_requests_5xx_errors_total",
        "minio_s3_requests_total",
        "minio_s3_traffic_received_bytes",
        "minio_s3_traffic_sent_bytes",
    },
    # tests/store/test_three.py reads them from real servers
    "SeaweedFS": {
        "SeaweedFS_master_is_leader",
        "SeaweedFS_master_replica_placement_mismatch",
        "SeaweedFS_s3_request_total",
        "SeaweedFS_volumeServer_max_volumes",
        "SeaweedFS_volumeServer_read_only_volumes",
        "SeaweedFS_volumeServer_resource",
        "SeaweedFS_volumeServer_volumes",
    },
    "etcd of SeaweedFS": {
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_server_has_leader",
        "etcd_server_quota_backend_bytes",
    },
    # https://docs.haproxy.org/3.2/management.html; tests/store/test_refusals.py reads it from a real HAProxy
    "HAProxy in front of MinIO": {"haproxy_frontend_requests_denied_total"},
    # https://github.com/prometheus-community/postgres_exporter, the collectors that are on by default
    "postgres_exporter": {
        "pg_database_size_bytes",
        "pg_settings_max_connections",
        "pg_stat_database_blks_hit",
        "pg_stat_database_blks_read",
        "pg_stat_database_numbackends",
        "pg_stat_database_xact_commit",
        "pg_stat_database_xact_rollback",
        "pg_up",
    },
    # training/outcomes/pushing.py; test_outcomes.py reads them from a real Pushgateway
    "training outcomes": {
        "model_estimated",
        "model_gate_bound",
        "model_held_out",
        "model_outcomes_joined",
        "model_outcomes_refused",
        "model_outcomes_timestamp_seconds",
        "model_realised",
        "model_realised_lower",
        "model_realised_rows",
        "model_realised_slice",
        "model_realised_upper",
    },
    # https://argoproj.github.io/argo-rollouts/features/controller-metrics/
    "Argo Rollouts": {"rollout_info"},
    # https://github.com/kubernetes/kube-state-metrics/tree/main/docs/metrics
    "kube-state-metrics": {
        "kube_cronjob_created",
        "kube_cronjob_spec_suspend",
        "kube_cronjob_status_last_successful_time",
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "kube_horizontalpodautoscaler_status_desired_replicas",
        "kube_job_complete",
        "kube_job_failed",
        "kube_job_owner",
        "kube_job_status_completion_time",
        "kube_job_status_start_time",
    },
    # https://argo-cd.readthedocs.io/en/stable/operator-manual/metrics/
    "Argo CD": {
        "argocd_app_info",
        "argocd_appset_info",
        "argocd_app_reconcile_bucket",
        "argocd_app_sync_total",
    },
}


def in_text(exposed: str) -> set[str]:
    """Return the stored names of all metrics in a text of Prometheus' format, including those without a value."""
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", exposed, re.MULTILINE)
    return {f"{name}{ending}" for name, kind in kinds for ending in _ENDINGS.get(kind, ("",))}


def known(serving: set[str]) -> set[str]:
    """Return every metric that the stack exports or records, given the metrics of serving."""
    recorded = {rule.record for rule in rules() if rule.record}
    return serving | MLFLOW | PROMETHEUS | recorded | elsewhere()


def elsewhere() -> set[str]:
    """Return the metrics that only a cluster has."""
    return set().union(*ELSEWHERE.values())


def families(names: set[str]) -> set[str]:
    """Return the names as documentation lists them: one for each histogram."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
