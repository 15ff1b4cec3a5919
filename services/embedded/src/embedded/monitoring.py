"""A Pushgateway and a Prometheus as processes, for the closed loop and for tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedded.processes import LOOPBACK, Server, free_port

DATA = "prometheus-data"
"""The folder of Prometheus's time series, inside the folder of the server."""


def pushgateway(program: Path, folder: Path) -> Server:
    """Describe a Pushgateway, with its log in `folder`."""
    port = free_port()
    url, log = f"http://{LOOPBACK}:{port}", folder / "pushgateway.log"
    command = [str(program), f"--web.listen-address={LOOPBACK}:{port}"]
    return Server("Pushgateway", command, url=url, ready_path="/-/ready", log=log)


def prometheus(program: Path, folder: Path, rules: Sequence[Path], scraped: Sequence[dict[str, Any]]) -> Server:
    """Describe a Prometheus that scrapes its targets twice a second, and evaluates rules each second.

    Args:
        program: the program.
        folder: for its configuration, data and log.
        rules: files of rules.
        scraped: its `scrape_configs`.
    """
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": list(scraped),
    }
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(configuration), encoding="utf-8")
    port = free_port()
    command = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / DATA}",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    url, log = f"http://{LOOPBACK}:{port}", folder / "prometheus.log"
    return Server("Prometheus", command, url=url, ready_path="/-/ready", log=log)
