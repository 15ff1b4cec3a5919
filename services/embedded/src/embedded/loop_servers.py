"""The servers of the closed loop besides MLflow and the API: a store, a Pushgateway, and Prometheus with alerts."""

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import msgspec
import yaml

from embedded import monitoring, seaweedfs
from embedded.processes import Server, ServerFailedError

TOOLS = Path(".cache/tools/bin")
_REGION = "us-east-1"
_SECONDS = 60


class Store(msgspec.Struct, frozen=True):
    """An S3 store, and the keys of its only user, which are random."""

    url: str
    access_key: str
    secret_key: str

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        boto3.client(
            "s3", endpoint_url=self.url, region_name=_REGION,
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key,
        ).create_bucket(Bucket=name)  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which training finds it."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return {**keys, "AWS_DEFAULT_REGION": _REGION, "S3_ENDPOINT_URL": self.url}


def store(folder: Path) -> tuple[Server, Store]:
    """Describe a SeaweedFS server with its data in a folder, and the store that it provides."""
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    server = seaweedfs.server(
        folder, [seaweedfs.user("loop", access_key, secret_key, ["Admin", "Read", "Write", "List"])]
    )
    return server, Store(server.url, access_key, secret_key)


def pushgateway(folder: Path) -> Server:
    """Describe a Pushgateway."""
    return monitoring.pushgateway(_tool("pushgateway"), folder)


def prometheus(folder: Path, service: str, namespace: str, api: str, gateway: str, alerts: Sequence[str]) -> Server:
    """Describe a Prometheus that scrapes the API and the Pushgateway twice a second, with some of the chart's alerts.

    Their `for` is zero, so that they fire at once: a demo should not wait for a quarter of an hour.

    Args:
        folder: for its configuration, data and log.
        service: the service's name, the label `job` of its metrics.
        namespace: the label `namespace` of its metrics.
        api: host and port of the API.
        gateway: host and port of the Pushgateway.
        alerts: the names of the alerts.

    Raises:
        ServerFailedError: the chart cannot be rendered, or has no such alert.
    """
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"groups": [{"name": "loop", "rules": [_at_once(each) for each in _rules(alerts)]}]}))
    own = {"job_name": service, "static_configs": [{"targets": [api], "labels": {"namespace": namespace}}]}
    pushed = {"job_name": "pushed", "honor_labels": True, "static_configs": [{"targets": [gateway]}]}
    return monitoring.prometheus(_tool("prometheus"), folder, [rules], [own, pushed])


def _at_once(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {**rule, "for": "0s"}


def _rules(alerts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the chart's rules for some alerts, with the chart's own thresholds."""
    chart = Path("charts/observability")
    values = chart / "ci" / "1-defaults.yaml"
    command = [str(_tool("helm")), "template", "observability", str(chart), "--values", str(values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise ServerFailedError(f"{chart} cannot be rendered: {done.stderr.strip()}")
    # Only the rules are parsed: PyYAML cannot read `=` elsewhere in the chart, which Kubernetes reads as text.
    found = [each for each in done.stdout.split("\n---\n") if "\nkind: PrometheusRule\n" in each]
    groups = [group for text in found for group in yaml.safe_load(text)["spec"]["groups"]]
    chosen = [rule for group in groups for rule in group["rules"] if rule.get("alert") in alerts]
    if missing := set(alerts) - {rule["alert"] for rule in chosen}:
        raise ServerFailedError(f"{chart} has no alert {', '.join(sorted(missing))}.")
    return chosen


def _tool(name: str) -> Path:
    path = TOOLS / name
    if not path.exists():
        raise ServerFailedError(f"{path} is missing: run ./tools/install {name} in the repository.")
    return path.resolve()
