"""Common parts of all dashboards: the frame, variables, queries and panels."""

import itertools
from collections.abc import Sequence
from typing import cast

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as grafana
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel
# The height of a row, and its panels, which share the width.
Row = tuple[int, list[Panel]]
# A query and the legend of its series.
Query = tuple[str, str]
# The lowest value of a colour, as a number or a placeholder; None for the lowest colour.
Step = tuple[float | str | None, str]

SOURCE = grafana.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "ml-pipeline"
_COLUMNS = 24

# Placeholders, which charts/observability replaces by its values `thresholds`.
FAILED_BUDGET = "${slo.maxFailedRatio}"
SLOW_BUDGET = "${slo.maxSlowRatio}"
SLOW_SECONDS = "${slo.slowSeconds}"
DRIFT_STEPS: list[Step] = [(None, "green"), ("${drift.changedPsi}", "orange"), ("${drift.maxPsi}", "red")]


# A placeholder, which charts/observability replaces by `rules.repository`.
_FILES = "https://github.com/OWNER/NAME/blob/main"


def frame(name: str, title: str, description: str, rows: Sequence[Row]) -> build.Dashboard:
    """Return a dashboard with its panels, links to the other dashboards, and a variable for the data source."""
    dashboard = (
        build.Dashboard(title)
        .uid(f"ml-pipeline-{name}")
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(grafana.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(build.DashboardLink("Dashboards").type(grafana.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
        .link(
            build.DashboardLink("What this shows")
            .type(grafana.DashboardLinkType.LINK)
            .url(f"{_FILES}/docs/observability.md")
            .target_blank(True)
        )
    )
    numbers = itertools.count(1)
    y = 0
    for height, panels in rows:
        width = _COLUMNS // len(panels)
        for place, panel in enumerate(panels):
            position = grafana.GridPos(x=place * width, y=y, w=width, h=height)
            dashboard = dashboard.with_panel(panel.id(next(numbers)).datasource(SOURCE).grid_pos(position))
        y += height
    return dashboard


def variable(name: str, label: str, values: str, *, chosen: str = "") -> build.QueryVariable:
    """Return a variable with several values or all; the default is all, unless one is `chosen`."""
    current = grafana.VariableOption(text=[chosen], value=[chosen]) if chosen else _ALL
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": values, "refId": name})
        .refresh(grafana.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(grafana.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(current)
    )


_ALL = grafana.VariableOption(text="All", value="$__all")


def environment() -> build.QueryVariable:
    """Return the variable for environments, by their namespaces."""
    return variable("namespace", "Environment", "label_values(serving_ready, namespace)")


def service() -> build.QueryVariable:
    """Return the variable for the services in the environments."""
    return variable("job", "Service", 'label_values(serving_ready{namespace=~"$namespace"}, job)')


def model(where: str) -> build.QueryVariable:
    """Return the variable for the models that are served."""
    return variable("model", "Model", f"label_values(serving_model_info{{{where}}}, name)")


def deployments() -> build.AnnotationQuery:
    """Return annotations for deployments by Argo CD."""
    synced = 'argocd_app_sync_total{project="serving", phase="Succeeded", dry_run="false"}'
    return (
        build.AnnotationQuery()
        .name("Deployments")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(f"sum by (name) (increase({synced}[2m])) > 0")
    )


def rate(metric: str, where: str) -> str:
    """Return PromQL for the rate of a counter, over the interval that Grafana selects."""
    return f"rate({metric}{{{where}}}[$__rate_interval])"


def increase(metric: str, where: str) -> str:
    """Return PromQL for the increase of a counter."""
    return f"increase({metric}{{{where}}}[$__rate_interval])"


def quantile(share: float, histogram: str, where: str, *, by: str = "le") -> str:
    """Return PromQL for a quantile of a histogram."""
    return f"histogram_quantile({share}, sum by ({by}) ({rate(f'{histogram}_bucket', where)}))"


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    steps: Sequence[Step] = (),
    stacked: bool = False,
    least: float | None = 0,
) -> timeseries.Panel:
    """Return curves over time; `steps` are horizontal lines."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .fill_opacity(30 if stacked else 8)
        .line_width(1)
        .show_points(looks.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.TABLE)
            .placement(looks.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    )
    if least is not None:
        panel = panel.min(least)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if steps:
        dashed = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(dashed)
    for reference, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(_query(reference, expr, legend))
    return panel


def number(
    title: str, description: str, unit: str, query: Query, *, steps: Sequence[Step] = ((None, "text"),)
) -> stat.Panel:
    """Return one large number for each series, coloured by `steps`."""
    expr, legend = query
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_mode(looks.BigValueColorMode.VALUE)
        .graph_mode(looks.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query("A", expr, legend))
    )


def heat(title: str, description: str, unit: str, expr: str) -> heatmap.Panel:
    """Return a heat map of a histogram over time; `expr` returns its buckets by `le`."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(heatmap.HeatmapColorOptions().scheme("Oranges").steps(64))
        .with_target(_query("A", expr, "{{le}}").format(PromQueryFormat.HEATMAP))
    )


def listing(title: str, description: str, expr: str, columns: Sequence[str]) -> table.Panel:
    """Return a table of the present series: these labels as columns, and the value as the last one."""
    order = {name: place for place, name in enumerate([*columns, "Value"])}
    organized = {"indexByName": order, "excludeByName": {"Time": True, "__name__": True}}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .with_target(_query("A", expr, "").format(PromQueryFormat.TABLE).instant())
        .with_transformation(grafana.DataTransformerConfig(id_val="organize", options=organized))
    )


def firing(names: str, *labels: str) -> table.Panel:
    """Return the alerts whose names match, each with a link to its runbook, and with these additional `labels`."""
    runbook = {"title": "Runbook", "url": f"{_FILES}/docs/runbooks/${{__value.raw}}.md", "targetBlank": True}
    columns = ["alertname", "severity", "namespace", "job", *labels]
    return listing(
        "Alerts",
        "Alerts that fire now. The name links to the runbook.",
        f'max by ({", ".join(columns)}) (ALERTS{{alertstate="firing", alertname=~"{names}"}})',
        columns,
    ).override_by_name("alertname", [grafana.DynamicConfigValue(id_val="links", value=[runbook])])


def _query(reference: str, expr: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(reference).datasource(SOURCE).expr(expr).legend_format(legend)


def _thresholds(steps: Sequence[Step]) -> build.ThresholdsConfig:
    return (
        build.ThresholdsConfig()
        .mode(grafana.ThresholdsMode.ABSOLUTE)
        # A placeholder is a string here, and becomes a number in the chart.
        .steps([grafana.Threshold(value=cast("float | None", value), color=color) for value, color in steps])
    )
