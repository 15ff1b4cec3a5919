"""Prometheus and Grafana in compose.yaml get the same rules and dashboards as Helm renders."""

import json
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.observability.content import DASHBOARDS, ROOT, RULES
from tests.observability.promtool import promtool

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def mounted(service: str, folder: Path) -> dict[PurePosixPath, Path]:
    """Return this machine's path of each volume of a service, by its path in the container."""
    found = {}
    for volume in COMPOSE["services"][service]["volumes"]:
        source, target = volume.removesuffix(":ro").split(":")
        found[PurePosixPath(target)] = ROOT / source if source.startswith(".") else folder / source
    return found


def on_this_machine(path: str, places: dict[PurePosixPath, Path]) -> Path:
    """Return the path on this machine of a path in a container, by its volumes."""
    inside = PurePosixPath(path)
    root = next(place for place in places if inside.is_relative_to(place))
    return places[root] / inside.relative_to(root)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return the named volumes after the services that run before Prometheus have ended."""
    waited_for = COMPOSE["services"]["prometheus"].get("depends_on") or {}
    for name in waited_for:
        service, places = COMPOSE["services"][name], mounted(name, tmp_path)
        words = [*service["entrypoint"][1:], *service["command"]]
        command: list[str | Path] = [sys.executable, *(on_this_machine(word, places) for word in words)]
        subprocess.run(command, check=True, timeout=60)
    return tmp_path


def test_prometheus_accepts_the_rules_which_are_those_of_the_cluster(volumes: Path) -> None:
    (pattern,) = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])["rule_files"]
    folder = on_this_machine(str(PurePosixPath(pattern).parent), mounted("prometheus", volumes))
    files = sorted(folder.glob("*.yaml"))
    assert [path.name for path in files] == [path.name for path in RULES]
    for path, wanted in zip(files, RULES, strict=True):
        checked = promtool("check", "rules", path)
        assert checked.code == 0, checked.output + checked.errors
        assert yaml.safe_load(path.read_text(encoding="utf-8")) == yaml.safe_load(wanted.read_text(encoding="utf-8"))


def test_grafana_gets_the_dashboards_of_the_cluster(volumes: Path) -> None:
    (provider,) = yaml.safe_load(COMPOSE["configs"]["grafana-dashboards"]["content"])["providers"]
    places = mounted("grafana", volumes)
    folder = on_this_machine(provider["options"]["path"], places)
    assert sorted(path.name for path in folder.glob("*.json")) == [path.name for path in DASHBOARDS]
    for wanted in DASHBOARDS:
        assert json.loads((folder / wanted.name).read_text()) == json.loads(wanted.read_text(encoding="utf-8"))
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert on_this_machine(home, places).is_file()
