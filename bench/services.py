"""Measure gitops on a repository of many services, and count the metric series of their pods; `make bench-services`.

It needs no cluster and no network: the clone and its bare remote are in a temporary folder.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
import msgspec

from bench import document
from bench.own import own_server
from bench.report import machine, table
from gitops.documents import loaded
from tests.gitops import repository
from tests.support.helm import ROOT

ENVIRONMENTS = ("staging", "qa", "production")
_FEEDS = dict(zip(ENVIRONMENTS[1:], ENVIRONMENTS, strict=False))
_HEAD = """\
repository: https://git.example.com/you/pipeline.git
registry: {prefix: registry.example.com/you/pipeline}
"""
_TOOLS = ROOT / ".cache/tools/bin"
# The peak memory of a process starts at that of its parent, so a small process starts it.
_LAUNCHER = """
import resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


class Measured(msgspec.Struct, frozen=True):
    """One command over all rounds: wall time in seconds, and the peak memory of its largest process in MB."""

    what: str
    seconds: list[float]
    peak_mb: list[float]

    @property
    def cells(self) -> list[str]:
        """Its line of the table, with medians."""
        return [f"`{self.what}`", f"{median(self.seconds):.2f}", f"{median(self.peak_mb):.0f}"]


def main() -> None:
    """Measure, print the section and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=20, help="how many services (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="how many times to run each command (default 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="services-") as name:
        clone = many_services(Path(name), options.services)
        measured = [
            _measured(clone, what, [_command(what, number, clone) for number in range(options.rounds)])
            for what in commands()
        ]
    text = section(measured, options.services, options.rounds, count_series())
    sys.stdout.write(text)
    document.write("bench-services", text)


def many_services(folder: Path, count: int) -> Path:
    """Create a clone with its bare remote: `count` services, each released in each environment."""
    environments = [
        f"  - {{name: {name}{f', from: {_FEEDS[name]}' if name in _FEEDS else ''}}}\n" for name in ENVIRONMENTS
    ]
    services = [f"  - {{name: model-{n:02}, model: classifier-{n:02}}}\n" for n in range(1, count + 1)]
    platform = f"{_HEAD}environments:\n{''.join(environments)}services:\n{''.join(services)}"
    clone = repository.grown(folder, (), platform)
    # Charts of other versions would be downloaded.
    version = loaded((clone / "charts/model-serving/Chart.yaml").read_text())["version"]
    for release in clone.glob("envs/*/*/release.yaml"):
        unheld = re.sub(r"(?m)^  hold:\n(    .*\n)*", "", release.read_text())
        release.write_text(re.sub(r"(?m)^(\s+chart): .*", rf'\1: "{version}"', unheld))
    repository.git(clone, "commit", "--quiet", "--all", "--message", "pin the chart of the tree")
    repository.git(clone, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    return clone


def commands() -> list[str]:
    """Return the commands to measure, as people type them."""
    first, last = ENVIRONMENTS[0], ENVIRONMENTS[-1]
    return [
        "helm template apps",
        "gitops targets",
        "gitops check",
        "gitops status --offline",
        f"gitops render {first}/model-01",
        f"gitops render {first}",
        f"gitops bump {first} --image TAG@DIGEST",
        f"gitops promote {ENVIRONMENTS[1]}/model-01 --dry-run",
        f"gitops rollback {first}/model-01",
        f"gitops history {last}",
    ]


def _command(what: str, number: int, clone: Path) -> list[str]:
    """Return the command with a full path, and with the values that differ between rounds."""
    program, *rest = what.split()
    if program == "helm":
        rest = ["template", "apps", str(clone / "apps"), "--values", str(clone / "platform.yaml")]
        return [str(_TOOLS / "helm"), *rest]
    image = f"round-{number}@sha256:{f'{number + 1:x}' * 64}"
    promotion = ["--min-age", "0"] if rest[0] == "promote" else []
    return [str(ROOT / ".venv/bin/gitops"), *(image if word == "TAG@DIGEST" else word for word in rest), *promotion]


def _measured(clone: Path, what: str, rounds: Sequence[Sequence[str]]) -> Measured:
    found = [_run(clone, command) for command in rounds]
    return Measured(what, [seconds for seconds, _ in found], [peak for _, peak in found])


def _run(clone: Path, command: Sequence[str]) -> tuple[float, float]:
    """Run a command to its end. Return how many seconds it took, and the peak memory of its largest process in MB."""
    path = f"{_TOOLS}:{os.environ['PATH']}"
    environment = {**os.environ, **repository.PERSON, "PATH": path, "KUBECONFIG": str(clone / "no-kubeconfig")}
    launched = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launched, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak) / 1024


def count_series() -> int:
    """Count the series that Prometheus would keep for one pod that has answered, refused and measured drift."""
    with own_server() as own, httpx.Client(base_url=own.server.url, timeout=10) as client:
        row = {"features": [5.1, 3.5, 1.4, 0.2]}
        for body in (row, {"instances": [row["features"]]}, {"features": "nothing"}):
            client.post("/predict", json=body)
        client.get("/health")
        lines = client.get("/metrics").text.splitlines()
    return len([line for line in lines if line and not line.startswith("#")])


def section(measured: Sequence[Measured], services: int, rounds: int, series: int) -> str:
    """Return the section's text."""
    pods = services * len(ENVIRONMENTS)
    return f"""
Measured {datetime.now(UTC):%Y-%m-%d} with `make bench-services`: {machine()}
{services} services in {len(ENVIRONMENTS)} environments, {pods} releases, on one disk with a bare remote; medians of
{rounds} rounds. The peak is that of the largest process, Helm and git included.

{table(["command", "seconds", "peak MB"], [entry.cells for entry in measured])}

One pod of iris, logistic regression, has {series:,} metric series. {pods} pods, one for each service in each
environment, have {series * pods:,}.

"""


if __name__ == "__main__":
    main()
