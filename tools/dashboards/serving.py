"""The dashboard Serving: do callers get correct answers, fast, and is there spare capacity."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.parts import (
    FAILED_BUDGET,
    SLOW_BUDGET,
    SLOW_SECONDS,
    Panel,
    Query,
    Row,
    Step,
    deployments,
    environment,
    firing,
    frame,
    heat,
    increase,
    lines,
    model,
    number,
    quantile,
    rate,
    service,
    variable,
)

_HERE = 'namespace=~"$namespace", job=~"$job"'
_ASKED = f'{_HERE}, route=~"$route"'
_REQUESTS = "serving_requests_total"
_DURATION = "serving_request_duration_seconds"
_SHADOW = f'{_HERE}, model_name=~"$model"'
_SIDE = "rollouts_pod_template_hash"
_FAILED = "serving:requests_failed:ratio_rate"
_SLOW = "serving:requests_slow:ratio_rate"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows: list[Row] = [
        (4, _at_a_glance()),
        (8, _requests()),
        (8, _time()),
        (8, _objectives()),
        (8, _saturation()),
        (8, _room()),
        (8, _shadow()),
        (8, _log()),
        (8, _canary()),
        (6, [firing("Serving.*")]),
    ]
    routes = f"label_values({_REQUESTS}{{{_HERE}}}, route)"
    return (
        frame("serving", "Serving", "Do callers get good answers fast, and is there spare capacity?", rows)
        .with_variable(environment())
        .with_variable(service())
        .with_variable(variable("route", "Route", routes, chosen="/predict"))
        .with_variable(model(_HERE))
        .annotation(deployments())
        .build()
    )


def _at_a_glance() -> list[Panel]:
    burn: list[Step] = [(None, "green"), (1, "orange"), (6, "red")]
    return [
        number(
            "Ready pods",
            "Pods with all their models loaded and warm.",
            "none",
            (f"sum(serving_ready{{{_HERE}}})", ""),
            steps=[(None, "red"), (1, "green")],
        ),
        number("Request rate", "Requests answered.", "reqps", (f"sum({rate(_REQUESTS, _ASKED)})", "")),
        number(
            "p99",
            "99 of 100 requests are answered within this time.",
            "s",
            (quantile(0.99, _DURATION, _ASKED), ""),
            steps=[(None, "green"), (SLOW_SECONDS, "red")],
        ),
        number(
            "Failing now",
            "Share of the requests that fail (5xx), over five minutes. The objective is below "
            "${slo.maxFailedRatio:percent} over 30 days.",
            "percentunit",
            (f"max({_FAILED}5m{{{_HERE}}})", ""),
            steps=[(None, "green"), (FAILED_BUDGET, "red")],
        ),
        number(
            "Error budget burn",
            "How many times faster than allowed errors came in the last hour. At 1, the budget of 30 days is used up "
            "exactly.",
            "none",
            (f"max({_FAILED}1h{{{_HERE}}}) / {FAILED_BUDGET}", ""),
            steps=burn,
        ),
        number(
            "Latency budget burn",
            "The same for answers that took more than ${slo.slowSeconds} s, of which "
            "${slo.maxSlowRatio:percent} is allowed.",
            "none",
            (f"max({_SLOW}1h{{{_HERE}}}) / {SLOW_BUDGET}", ""),
            steps=burn,
        ),
    ]


def _requests() -> list[Panel]:
    durations = increase(f"{_DURATION}_bucket", _ASKED)
    return [
        lines(
            "Requests by status",
            "499: the caller hung up.",
            "reqps",
            [(f"sum by (status) ({rate(_REQUESTS, _ASKED)})", "{{status}}")],
            stacked=True,
        ),
        heat("Latency of all requests", "How many requests took how long.", "s", f"sum by (le) ({durations})"),
    ]


def _time() -> list[Panel]:
    return [
        lines(
            "Latency",
            "From a request's head to its answer. The line is the objective for all requests except "
            "${slo.maxSlowRatio:percent}.",
            "s",
            [(quantile(share, _DURATION, _ASKED), name) for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))],
            steps=[(None, "transparent"), (SLOW_SECONDS, "red")],
        ),
        lines(
            "Time in the model",
            "A request with many rows counts once.",
            "s",
            [
                (quantile(share, "serving_inference_seconds", _HERE, by="le, runtime"), f"{name} {{{{runtime}}}}")
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ],
        ),
    ]


def _over_windows(record: str) -> list[Query]:
    windows = ("5m", "1h", "6h")
    return [(f"max by (job) ({record}{window}{{{_HERE}}})", f"{{{{job}}}} {window}") for window in windows]


def _objectives() -> list[Panel]:
    return [
        lines(
            "Share that fails",
            "Over five minutes, an hour and six hours. The line is the objective; alerts fire at multiples of it.",
            "percentunit",
            _over_windows(_FAILED),
            steps=[(None, "transparent"), (FAILED_BUDGET, "red")],
        ),
        lines(
            "Share that is slow",
            "Answers that took more than ${slo.slowSeconds} s. The line is the objective.",
            "percentunit",
            _over_windows(_SLOW),
            steps=[(None, "transparent"), (SLOW_BUDGET, "red")],
        ),
    ]


def _saturation() -> list[Panel]:
    cpu = rate("process_cpu_seconds_total", _HERE)
    return [
        lines(
            "Requests in flight",
            "Being answered now, by pod.",
            "none",
            [(f"sum by (pod) (serving_requests_in_flight{{{_HERE}}})", "{{pod}}")],
        ),
        lines(
            "Refused unread",
            "Predictions refused at once because too many others were waiting: the load is more than the pods can "
            "handle.",
            "reqps",
            [(f"sum by (pod) ({rate('serving_requests_shed_total', _HERE)})", "{{pod}}")],
        ),
        lines("CPU", "By pod, in cores.", "none", [(f"sum by (pod) ({cpu})", "{{pod}}")]),
        lines("Memory", "By pod.", "bytes", [(f"sum by (pod) (process_resident_memory_bytes{{{_HERE}}})", "{{pod}}")]),
    ]


def _room() -> list[Panel]:
    autoscaler = "kube_horizontalpodautoscaler"
    scaled = 'namespace=~"$namespace"'
    predicted = rate("serving_predictions_total", f'{_HERE}, model_name=~"$model"')
    unanswered = increase("serving_registry_errors_total", _HERE)
    return [
        lines(
            "Pods",
            "Running and ready pods, and the limits of the autoscaler.",
            "none",
            [
                (f"count(serving_ready{{{_HERE}}})", "running"),
                (f"sum(serving_ready{{{_HERE}}})", "ready"),
                (f"sum({autoscaler}_status_desired_replicas{{{scaled}}})", "wanted"),
                (f"sum({autoscaler}_spec_min_replicas{{{scaled}}})", "minimum"),
                (f"sum({autoscaler}_spec_max_replicas{{{scaled}}})", "maximum"),
            ],
        ),
        lines(
            "Rows by version",
            "Rows predicted by each version of the chosen models: a request may have many.",
            "rowsps",
            [(f"sum by (model_name, model_version) ({predicted})", "{{model_name}} {{model_version}}")],
            stacked=True,
        ),
        lines(
            "Unanswered by MLflow",
            "Requests to the registry that got no answer. Predictions do not need one.",
            "none",
            [(f"sum by (operation) ({unanswered})", "{{operation}}")],
        ),
    ]


def _shadow() -> list[Panel]:
    """Return the panels for a shadow; they are empty if none is pinned."""
    rows, each = "serving_shadow_rows_total", "model_name, shadow"
    name = "{{model_name}} {{shadow}}"
    compared = rate(rows, f'{_SHADOW}, outcome=~"agreed|differed|failed"')
    apart = rate(rows, f'{_SHADOW}, outcome=~"differed|failed"')
    confused = increase("serving_shadow_answers_total", _SHADOW)
    return [
        lines(
            "Shadow: rows",
            "Rows given to the second version, by outcome. Dropped: more than it could handle.",
            "rowsps",
            [(f"sum by ({each}, outcome) ({rate(rows, _SHADOW)})", f"{name} {{{{outcome}}}}")],
            stacked=True,
        ),
        lines(
            "Shadow: disagreement",
            "Share of the compared rows with another answer or none, and the PSI of its answers.",
            "none",
            [
                (f"sum by ({each}) ({apart}) / sum by ({each}) ({compared})", f"{name} share"),
                (f"avg by ({each}) (serving_shadow_psi{{{_SHADOW}}})", f"{name} PSI"),
            ],
        ),
        lines(
            "Shadow: answers",
            "The answer that was given, and that of the second version.",
            "none",
            [(f"sum by (answer, shadow_answer) ({confused})", "{{answer}} / {{shadow_answer}}")],
        ),
        lines(
            "Shadow: difference",
            "In the probability of the answer, or in the number relative to its spread: median and 99th percentile.",
            "none",
            [
                (quantile(share, "serving_shadow_difference", _SHADOW, by=f"le, {each}"), f"{name} {part}")
                for share, part in ((0.5, "half"), (0.99, "99 of 100"))
            ],
        ),
        lines(
            "Shadow: time in the model",
            "Of one request. The panel *Time in the model* has the version that answers.",
            "s",
            [
                (quantile(share, "serving_shadow_inference_seconds", _SHADOW, by=f"le, {each}"), f"{name} {part}")
                for share, part in ((0.5, "p50"), (0.99, "p99"))
            ],
        ),
        number(
            "Shadow: ready",
            "Pods that compare a second version. 0: `/health` of a pod and its log say why.",
            "none",
            (f"sum by ({each}) (serving_shadow_ready{{{_SHADOW}}})", name),
            steps=[(None, "red"), (1, "green")],
        ),
    ]


def _log() -> list[Panel]:
    """Return the panels for the prediction log; they are empty without one."""
    name = "serving_prediction_log"
    written = rate(f"{name}_rows_written_total", _HERE)
    dropped = rate(f"{name}_rows_dropped_total", _HERE)
    return [
        lines(
            "Prediction log: rows",
            "Rows in the store, and rows that could not be logged, by reason.",
            "rowsps",
            [(f"sum({written})", "written"), (f"sum by (reason) ({dropped})", "dropped: {{reason}}")],
        ),
        lines(
            "Prediction log: bytes",
            "Compressed bytes sent to the store per second, and bytes that wait; above 16 MiB in a pod, files are "
            "dropped.",
            "bytes",
            [
                (f"sum({rate(f'{name}_bytes_total', _HERE)})", "taken a second"),
                (f"max({name}_pending_bytes{{{_HERE}}})", "waiting, the most of a pod"),
            ],
        ),
        lines(
            "Prediction log: age",
            "Time since the store accepted a file of each service; without requests, no file is written.",
            "s",
            [(f"time() - max by (job) ({name}_last_write_timestamp_seconds{{{_HERE}}} > 0)", "{{job}}")],
        ),
    ]


def _canary() -> list[Panel]:
    """Return panels that compare new and old pods during a canary; otherwise there is a single line."""
    asked = f"sum by ({_SIDE}) ({rate(_REQUESTS, _ASKED)})"
    errors = rate(_REQUESTS, f'{_ASKED}, status=~"5.."')
    failed = f"sum by ({_SIDE}) ({errors})"
    side = f"{{{{{_SIDE}}}}}"
    return [
        lines(
            "Canary: requests",
            "By the pods that answer: old and new ones, by the hash of their template.",
            "reqps",
            [(asked, side)],
            stacked=True,
        ),
        lines(
            "Canary: failed requests",
            "Share of the requests of each side that failed.",
            "percentunit",
            [(f"{failed} / {asked}", side)],
        ),
        lines(
            "Canary: time to answer",
            "95 % of the requests of each side were answered faster.",
            "s",
            [(quantile(0.95, _DURATION, _ASKED, by=f"le, {_SIDE}"), side)],
        ),
        lines(
            "Canary: state",
            "1 for the state of a Rollout. Degraded: aborted. Paused: the analysis was inconclusive.",
            "none",
            [('max by (name, phase) (rollout_info{namespace=~"$namespace", name=~"$job"})', "{{name}} {{phase}}")],
        ),
    ]
