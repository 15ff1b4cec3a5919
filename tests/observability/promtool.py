"""promtool and Prometheus, which tools/install puts into .cache/tools/bin."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from embedded import monitoring
from embedded.processes import Server
from tests.observability.content import RULES
from tests.support import helm

TOOLS = helm.ROOT / ".cache" / "tools" / "bin"


class Sample(msgspec.Struct, frozen=True):
    """One series and its value."""

    labels: dict[str, str]
    value: float


def promtool(*arguments: str | Path) -> helm.Outcome:
    """Run promtool."""
    return helm.run("promtool", *arguments)


def prometheus_server(folder: Path, targets: Mapping[str, str], honoured: Collection[str] = ()) -> Server:
    """Describe a Prometheus that scrapes each target twice a second, with the chart's rules.

    Args:
        folder: Folder for its configuration, data and log.
        targets: Host and port by name of the job.
        honoured: Jobs whose series keep their own `job` and `namespace`, as those of a Pushgateway must.
    """
    scraped = [
        {
            "job_name": job,
            "honor_labels": job in honoured,
            "static_configs": [{"targets": [address], "labels": {"namespace": "here", "pod": job}}],
        }
        for job, address in targets.items()
    ]
    return monitoring.prometheus(TOOLS / "prometheus", folder, RULES, scraped)


class Prometheus:
    """Queries to a running Prometheus. A context manager that closes the connection at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=30.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        """Evaluate an expression, now or at a Unix time. Raise ValueError if it cannot be evaluated."""
        moment = {} if at is None else {"time": str(at)}
        data = self._get("/query", query=expr, **moment)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def value(self, expr: str) -> float:
        """Return the value of an expression that has exactly one."""
        (sample,) = self.query(expr)
        return sample.value

    def metrics_of(self, expr: str) -> set[str]:
        """Return the metrics in an expression, as Prometheus itself parses it. Raise ValueError if it is not valid."""
        return set(_metrics(self._get("/parse_query", query=expr)))

    def metrics(self) -> set[str]:
        """Return the names of all metrics in its data."""
        return set(self._get("/label/__name__/values"))

    def rules(self) -> list[dict[str, Any]]:
        """Return its rules, with the health of each."""
        return [rule for group in self._get("/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']} in: {parameters.get('query', path)}")
        return answer["data"]


def _metrics(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _metrics(each)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            yield node["name"]
        for each in node.values():
            yield from _metrics(each)
