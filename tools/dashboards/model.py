"""The dashboard Model: which model answers, what, how confident it is, and whether requests fit its training data."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from tools.dashboards.parts import (
    DRIFT_STEPS,
    Panel,
    Row,
    deployments,
    environment,
    firing,
    frame,
    heat,
    increase,
    lines,
    listing,
    model,
    number,
    quantile,
    rate,
    service,
    variable,
)

# A process may serve several models; the registry and the cache are the process's.
_HERE = 'namespace=~"$namespace", job=~"$job"'
_MODEL = f'{_HERE}, model_name=~"$model"'
_PREDICTED = rate("serving_predictions_total", f'{_MODEL}, model_version=~"$version"')
_PROBABILITY = "serving_prediction_probability"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    rows: list[Row] = [
        (6, _served()),
        (8, _predictions()),
        (8, _drift()),
        (8, _confidence()),
        (8, _quality()),
        (6, _outcomes()),
        (8, _versions()),
        (6, [firing("Model.*|ServingModel.*", "model_name")]),
    ]
    versions = f"label_values(serving_predictions_total{{{_MODEL}}}, model_version)"
    return (
        frame(
            "model",
            "Model",
            "Which model answers, what does it predict, and are its inputs like its training data?",
            rows,
        )
        .with_variable(environment())
        .with_variable(service())
        .with_variable(model(_HERE))
        .with_variable(variable("version", "Version", versions))
        .annotation(deployments())
        .build()
    )


def _served() -> list[Panel]:
    columns = ["namespace", "job", "name", "version", "release", "runtime", "digest"]
    return [
        listing(
            "Served",
            "What `latest` means for each model, and the number of pods that serve it.",
            f'count by ({", ".join(columns)}) (serving_model_info{{{_HERE}, name=~"$model"}})',
            columns,
        )
    ]


def _predictions() -> list[Panel]:
    by_class, by_model = (f"sum by ({labels}) ({_PREDICTED})" for labels in ("model_name, class", "model_name"))
    return [
        lines(
            "Predictions by class",
            "Rows a second. Regression has one class without a name.",
            "rowsps",
            [(by_class, "{{model_name}} {{class}}")],
            stacked=True,
        ),
        lines(
            "Share of each class",
            "Among the predictions of its model: whether their mix changes.",
            "percentunit",
            [(f"{by_class} / on (model_name) group_left {by_model}", "{{model_name}} {{class}}")],
        ),
    ]


def _drift() -> list[Panel]:
    each = "job, model_name"
    return [
        lines(
            "Input drift by feature",
            "Population stability index of the requests' values against the training data, averaged over the pods. "
            "Below ${drift.changedPsi} nothing has changed; above ${drift.maxPsi} much has changed.",
            "none",
            [(f"avg by ({each}, feature) (serving_input_psi{{{_MODEL}}})", "{{job}} {{model_name}} {{feature}}")],
            steps=DRIFT_STEPS,
        ),
        lines(
            "Prediction drift",
            "The same index for the predictions.",
            "none",
            [(f"avg by ({each}) (serving_prediction_psi{{{_MODEL}}})", "{{job}} {{model_name}}")],
            steps=DRIFT_STEPS,
        ),
        number(
            "Rows in the window",
            "Rows that drift is computed from, in the pod with fewest. Below ${drift.minRows} drift is not reliable, "
            "and no alert fires.",
            "none",
            (f"min by (model_name) (serving_drift_window_rows{{{_MODEL}}})", "{{model_name}}"),
            steps=[(None, "orange"), ("${drift.minRows}", "green")],
        ),
    ]


def _quality() -> list[Panel]:
    legend = "{{model_name}} {{model_version}} {{metric}}"
    by = "job, model_name, model_version, metric"

    def queries(metrics: str) -> list[tuple[str, str]]:
        where = f'{_MODEL}, model_version=~"$version", metric=~"{metrics}"'
        kinds = [("realised", "realised"), ("estimated", "estimated"), ("held_out", "held out"), ("gate_bound", "gate")]
        return [(f"max by ({by}) (model_{name}{{{where}}})", f"{legend} {word}") for name, word in kinds]

    return [
        lines(
            "Realised, estimated and held out",
            "Quality of the answers whose truth is known, the estimate from confidences, the held-out rows of "
            "training, and the threshold of the gate. Trust them in this order.",
            "percentunit",
            queries("accuracy|f1_macro|r2"),
            least=None,
        ),
        lines(
            "Realised and held-out errors",
            "The same for a regression, in the unit of its target.",
            "none",
            queries("rmse|mae"),
        ),
    ]


def _outcomes() -> list[Panel]:
    slices = ["job", "model_name", "model_version", "metric", "slice"]
    refused = ["namespace", "job", "reason"]
    return [
        listing(
            "Slices",
            "Realised metrics of the current version, by the values of its text columns; the worst ones may need more "
            "training rows.",
            f"max by ({', '.join(slices)}) (model_realised_slice{{{_MODEL}}})",
            slices,
        ),
        listing(
            "Not joined",
            "Truths that were not joined with the log, by reason; the run in MLflow lists them.",
            f"max by ({', '.join(refused)}) (model_outcomes_refused{{{_HERE}}})",
            refused,
        ),
        number(
            "Joined",
            "Rows of the log whose truth is known.",
            "none",
            (f"max by (job) (model_outcomes_joined{{{_HERE}}})", "{{job}}"),
        ),
    ]


def _confidence() -> list[Panel]:
    probabilities = increase(f"{_PROBABILITY}_bucket", _MODEL)
    return [
        lines(
            "Confidence",
            "Probability of the predicted class: 50 % and 90 % of the rows are above these lines.",
            "percentunit",
            [
                (quantile(share, _PROBABILITY, _MODEL, by="le, model_name"), f"{{{{model_name}}}} {name}")
                for share, name in ((0.5, "half"), (0.1, "nine of ten"))
            ],
        ),
        heat(
            "Confidence of all rows",
            "How many rows were predicted with which probability, by all chosen models together.",
            "percentunit",
            f"sum by (le) ({probabilities})",
        ),
    ]


def _versions() -> list[Panel]:
    return [
        lines(
            "Rows by version",
            "Rows a second by the version that answered.",
            "rowsps",
            [(f"sum by (model_name, model_version) ({_PREDICTED})", "{{model_name}} {{model_version}}")],
            stacked=True,
        ),
        lines(
            "Loads",
            "Versions loaded, and loads that failed, of all models.",
            "none",
            [
                (f"sum({increase('serving_model_loads_total', _HERE)})", "loaded"),
                (f"sum({increase('serving_model_load_failures_total', _HERE)})", "failed"),
            ],
        ),
        lines(
            "Model cache",
            "Versions of all models in memory, and whether a named version was among them.",
            "none",
            [
                (f"sum(serving_models_loaded{{{_HERE}}})", "in memory"),
                (f"sum({increase('serving_model_cache_hits_total', _HERE)})", "found"),
                (f"sum({increase('serving_model_cache_misses_total', _HERE)})", "not found"),
            ],
        ),
    ]
