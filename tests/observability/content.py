"""The content of charts/observability: its rules and the queries of its dashboards, with the chart's own thresholds."""

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.support import helm
from tests.support.manifests import parse

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "observability"
PATTERNS = sorted((CHART / "rules").glob("*.yaml"))
"""The rules as in the chart, with placeholders."""
RULE_TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))

# Grafana replaces its own variables by these values. All others belong to the dashboards.
_BUILT_IN = {"__rate_interval": "5m", "__interval": "1m", "__range": "1h"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


THRESHOLDS: dict[str, dict[str, float]] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["thresholds"]


def _filled() -> tuple[list[Path], list[Path]]:
    """Return the files that the chart renders from its rules and dashboards. They are removed with this process."""
    outcome = helm.template("observability", CHART / "ci" / "1-defaults.yaml")
    assert outcome.code == 0, outcome.errors
    folder = Path(tempfile.mkdtemp(prefix="observability-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rules_folder, dashboards_folder = folder / "rules", folder / "dashboards"
    for made in (rules_folder, dashboards_folder):
        made.mkdir()
    for manifest in parse(outcome.output):
        if manifest["kind"] == "PrometheusRule":
            name = manifest["metadata"]["name"].rpartition("-")[2]
            text = yaml.safe_dump(manifest["spec"], sort_keys=False, allow_unicode=True, width=1000)
            (rules_folder / f"{name}.yaml").write_text(text.replace(f"{_REPOSITORY}/", ""), encoding="utf-8")
        elif manifest["kind"] == "ConfigMap":
            for name, text in manifest["data"].items():
                (dashboards_folder / name).write_text(text, encoding="utf-8")
    return sorted(rules_folder.iterdir()), sorted(dashboards_folder.iterdir())


_REPOSITORY = "https://github.com/OWNER/NAME/blob/main"
# Tests have a case for each, so these are needed during the collection.
RULES, DASHBOARDS = _filled()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One recording or alerting rule, and its file."""

    file: str
    expr: str
    record: str = ""
    alert: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Query(msgspec.Struct, frozen=True):
    """A query of a dashboard, with variables, and its place."""

    place: str
    text: str

    def expr(self, **chosen: str) -> str:
        """Return the query with the chosen values of variables, and everything for the others."""
        values = {**_BUILT_IN, **chosen}
        return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ".*"), self.text)


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules of all files."""
    return tuple(
        msgspec.convert({**rule, "file": path.name}, Rule, strict=False)
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    )


def alerts() -> list[Rule]:
    """Return the alerting rules. Two rules with the same name differ in severity."""
    return [rule for rule in rules() if rule.alert]


@cache
def dashboard(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def panels(path: Path) -> list[dict[str, Any]]:
    """Return a dashboard's panels, including rows."""
    listed: list[dict[str, Any]] = dashboard(path)["panels"]
    return listed


def queries() -> list[Query]:
    """Return the PromQL of all panels and annotations of all dashboards."""
    return [query for path in DASHBOARDS for query in _queries(path)]


def _queries(path: Path) -> Iterator[Query]:
    for panel in panels(path):
        for target in panel.get("targets", ()):
            yield Query(f"{path.stem}: {panel['title']}", target["expr"])
    for annotation in dashboard(path)["annotations"].get("list", ()):
        yield Query(f"{path.stem}: annotation {annotation['name']}", annotation["expr"])


def variables(path: Path) -> dict[str, dict[str, Any]]:
    """Return a dashboard's variables by name."""
    return {variable["name"]: variable for variable in dashboard(path)["templating"]["list"]}


def selectors() -> list[Query]:
    """Return the selectors inside `label_values(...)`, from which the dashboards' variables get their values."""
    return [
        Query(f"{path.stem}: variable {name}", match[1])
        for path in DASHBOARDS
        for name, variable in variables(path).items()
        if variable["type"] == "query"
        and (match := re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"]))
    ]
