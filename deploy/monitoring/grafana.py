"""The dashboard as Grafana reads it, from version 10 on."""

from collections.abc import Iterator
from itertools import count
from typing import TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.monitoring.panels import AT_A_GLANCE, ROWS, Panel, Shape, Unit

TITLE, UID = "Inferwire", "inferwire"
SOURCE = models.DataSourceRef("prometheus", "${datasource}")
WIDTH, HEIGHT = 8, 8
NUMBER_WIDTH, NUMBER_HEIGHT = 4, 4
Drawn: TypeAlias = stat.Panel | heatmap.Panel | timeseries.Panel
UNITS = {Unit.TOKENS_PER_SECOND: "suffix: tok/s"}


def as_json() -> str:
    """What is in the chart."""
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(_dashboard().build())}\n"


def _dashboard() -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard(TITLE)
        .uid(UID)
        .description("Language models over gRPC: calls, tokens, times, engines. Written by `make deploy-generate`.")
        .tags(["inferwire", "vllm"])
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables():
        board.with_variable(variable)
    numbers = count(1)
    for row in ROWS:
        if row is not AT_A_GLANCE:
            board.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            board.with_panel(_panel(panel).id(next(numbers)))
    return board


def _variables() -> Iterator[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    yield dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    for name, label, query in (
        ("job", "Deployment", "label_values(inferwire_draining, job)"),
        ("instance", "Server", 'label_values(inferwire_draining{job=~"$job"}, instance)'),
        ("model", "Model", 'label_values(inferwire_engine_up{job=~"$job"}, model)'),
    ):
        yield _of_labels(name, label, query)


def _of_labels(name: str, label: str, query: str) -> dashboard.QueryVariable:
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    variable = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    return (
        variable.multi(True)
        .include_all(True)
        # Calls that name no model that there is have an empty one.
        .all_value(".*")
        .current(everything)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> Drawn:
    drawn: Drawn
    match panel.shape:
        case Shape.NUMBER:
            drawn = _number(panel)
        case Shape.HEATMAP:
            drawn = _heatmap()
        case _:
            drawn = _lines(panel)
    for query in _queries(panel):
        drawn.with_target(query)
    drawn.title(panel.title).description(panel.text).datasource(SOURCE).unit(UNITS.get(panel.unit, panel.unit))
    return drawn


def _queries(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for number, (legend, expression) in enumerate(panel.queries.items()):
        query = (
            prometheus.Dataquery().expr(expression).legend_format(legend or panel.title).ref_id(chr(ord("A") + number))
        )
        match panel.shape:
            case Shape.NUMBER:
                yield query.instant()
            case Shape.HEATMAP:
                yield query.range().format(PromQueryFormat.HEATMAP)
            case _:
                yield query.range()


def _number(panel: Panel) -> stat.Panel:
    steps = [models.Threshold(color="green", value=None)]
    if panel.alarming is not None:
        steps.append(models.Threshold(color="red", value=panel.alarming))
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    return stat.Panel().span(NUMBER_WIDTH).height(NUMBER_HEIGHT).thresholds(thresholds)


def _heatmap() -> heatmap.Panel:
    return heatmap.Panel().span(WIDTH).height(HEIGHT)


def _lines(panel: Panel) -> timeseries.Panel:
    drawn = timeseries.Panel().span(WIDTH).height(HEIGHT).min(0).line_width(2)
    drawn.show_points(shown.VisibilityMode.NEVER)
    drawn.tooltip(common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI).sort(shown.SortOrder.DESCENDING))
    if panel.most is not None:
        drawn.max(panel.most)
    if panel.shape is Shape.STACK:
        drawn.fill_opacity(30).stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL))
    return drawn
