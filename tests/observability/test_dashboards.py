"""The dashboards are what tools/dashboards writes, and Grafana can show all of each."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.observability.content import CHART, DASHBOARDS, ROOT, dashboard, panels, variables

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_is_one_for_each_question() -> None:
    assert [path.stem for path in DASHBOARDS] == ["delivery", "model", "platform", "serving"]


def test_are_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.dashboards", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_generator_names_what_is_stale(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.dashboards", "--folder", str(tmp_path)]
    (tmp_path / "serving.json").write_text("{}", encoding="utf-8")
    (tmp_path / "left-over.json").write_text("{}", encoding="utf-8")
    stale = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert stale.returncode == 1
    assert all(f"{name}.json" in stale.stderr for name in ("serving", "model", "platform", "delivery", "left-over"))
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.json")} == {
        path.name: path.read_text(encoding="utf-8") for path in (CHART / "dashboards").glob("*.json")
    }


def test_identities_and_titles_differ() -> None:
    for key in ("uid", "title"):
        values = [dashboard(path)[key] for path in DASHBOARDS]
        assert len(set(values)) == len(values)


@each_dashboard
def test_panels_have_identities_titles_and_explanations(path: Path) -> None:
    ids = [panel["id"] for panel in panels(path)]
    assert len(set(ids)) == len(ids)
    shown = [panel for panel in panels(path) if panel["type"] != "row"]
    assert all(panel["title"] and panel["description"] for panel in shown)
    titles = [panel["title"] for panel in shown]
    assert len(set(titles)) == len(titles)


@each_dashboard
def test_every_query_uses_the_chosen_data_source(path: Path) -> None:
    shown = [panel for panel in panels(path) if panel["type"] not in {"row", "text"}]
    assert all(panel["targets"] for panel in shown)
    asked = [
        *(panel["datasource"] for panel in shown),
        *(target["datasource"] for panel in shown for target in panel["targets"]),
        *(variable["datasource"] for variable in variables(path).values() if variable["type"] == "query"),
        *(annotation["datasource"] for annotation in dashboard(path)["annotations"].get("list", ())),
    ]
    assert asked == [SOURCE] * len(asked)
    assert variables(path)["datasource"]["type"] == "datasource"


@each_dashboard
def test_queries_of_a_panel_have_different_ids(path: Path) -> None:
    for panel in panels(path):
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(references)) == len(references), panel["title"]


@each_dashboard
def test_panels_are_inside_the_grid_and_do_not_overlap(path: Path) -> None:
    places = {panel["title"]: panel["gridPos"] for panel in panels(path)}
    for title, place in places.items():
        assert place["x"] >= 0, title
        assert place["x"] + place["w"] <= COLUMNS, title
        assert min(place["w"], place["h"]) > 0, title
    for (first, one), (second, other) in itertools.combinations(places.items(), 2):
        assert not overlap(one, other), f"{first} and {second}"


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_overlap_is_found() -> None:
    assert overlap({"x": 0, "y": 0, "w": 12, "h": 8}, {"x": 11, "y": 7, "w": 12, "h": 8})
    assert not overlap({"x": 0, "y": 0, "w": 12, "h": 8}, {"x": 12, "y": 0, "w": 12, "h": 8})


@each_dashboard
def test_numbers_have_units(path: Path) -> None:
    for panel in panels(path):
        if panel["type"] in {"stat", "timeseries", "gauge", "bargauge"}:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@each_dashboard
def test_variables_are_defined_if_and_only_if_they_are_used(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in variables(path):
        assert f"${name}" in text or f"${{{name}" in text, f"{name} is used nowhere"


@each_dashboard
def test_dashboards_link_to_each_other(path: Path) -> None:
    links: list[dict[str, Any]] = dashboard(path)["links"]
    (others,) = [link for link in links if link["type"] == "dashboards"]
    assert set(others["tags"]) <= set(dashboard(path)["tags"])
    (documentation,) = [link for link in links if link["type"] == "link"]
    assert documentation["url"].endswith("/docs/observability.md")


@each_dashboard
def test_firing_alerts_link_to_their_runbooks(path: Path) -> None:
    (table,) = [panel for panel in panels(path) if panel["title"] == "Alerts"]
    (link,) = table["fieldConfig"]["overrides"][0]["properties"][0]["value"]
    assert link["url"].endswith("/docs/runbooks/${__value.raw}.md")
