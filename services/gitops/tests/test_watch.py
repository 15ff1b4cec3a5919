"""Rollbacks of releases with problems: critical alerts of a real Prometheus, and aborted canaries."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from embedded.processes import LOOPBACK, NOBODY, Server, free_port
from gitops.cli import execute
from gitops.errors import OutageError
from gitops.programs import ProgramFailedError, ProgramMissingError
from gitops.promotion import watching
from services.gitops.tests import promotion_setup, test_canary
from services.gitops.tests.conftest import PLATFORM, ROOT, at, commit_all, git
from services.gitops.tests.github import GitHub
from services.gitops.tests.memory_cluster import MemoryCluster
from services.gitops.tests.promotion_setup import release
from services.gitops.tests.test_canary import pin, pinned
from tests.support import helm

# pytest finds fixtures by their names in the module.
hub = promotion_setup.hub
pytestmark = pytest.mark.usefixtures("cluster_without_canaries")
VALUES = "envs/staging/iris/values.yaml"
REASON = "Burning began 7 min after the release: 4.1 % of the requests fail"
OURS = {"severity": "critical", "namespace": "ml-pipeline-staging", "job": "iris"}
# Alerts that are active from the beginning. Alerts that differ from `OURS` must not roll anything back.
ALERTS: dict[str, dict[str, str]] = {
    "Burning": OURS,
    "Warns": {**OURS, "severity": "warning"},
    "Elsewhere": {**OURS, "namespace": "ml-pipeline-production"},
    "Another": {**OURS, "job": "wine"},
    "NoService": {"severity": "critical"},
}


class Away(MemoryCluster):
    """A cluster that does not answer."""

    def find(self, kind: str, name: str, namespace: str | None = None) -> Any:
        raise OutageError("the cluster does not answer.")


class Seen(Struct, frozen=True):
    """A Prometheus, and since when its alerts are active."""

    url: str
    since: datetime


def prometheus(folder: Path, alerts: dict[str, dict[str, str]], **more: str) -> Server:
    """Describe a Prometheus with active alerts; `more` has other fields of a rule, such as `for`."""
    folder.mkdir()
    summary = {"summary": "4.1 % of the requests fail"}
    rules = [
        {"alert": name, "expr": "vector(1)", "labels": labels, "annotations": summary, **more}
        for name, labels in alerts.items()
    ]
    (folder / "rules.json").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    config = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(folder / "rules.json")]}
    (folder / "prometheus.json").write_text(json.dumps(config))
    address = f"{LOOPBACK}:{free_port()}"
    command = [
        str(helm.ROOT / ".cache/tools/bin/prometheus"), f"--config.file={folder / 'prometheus.json'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}",
    ]  # fmt: skip
    return Server("Prometheus", command, url=f"http://{address}", ready_path="/-/ready", log=folder / "log")


def alerting(server: Server, count: int) -> datetime:
    """Wait until this number of alerts is active, and return since when."""
    deadline = time.monotonic() + 60
    while len(found := httpx.get(f"{server.url}/api/v1/alerts").json()["data"]["alerts"]) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return datetime.fromisoformat(found[0]["activeAt"])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A Prometheus with an active alert of iris, and others."""
    subprocess.run([ROOT / "tools" / "install", "prometheus"], check=True, capture_output=True, timeout=900)
    with prometheus(tmp_path_factory.mktemp("metrics") / "it", ALERTS) as server:
        yield Seen(server.url, alerting(server, len(ALERTS)))


@pytest.fixture
def metrics(seen: Seen) -> str:
    return seen.url


@pytest.fixture
def cluster_without_canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, MemoryCluster())


def use(monkeypatch: pytest.MonkeyPatch, made: MemoryCluster) -> None:
    def found(context: str | None, *, patient: bool, prometheus: str) -> MemoryCluster:
        made.prometheus = prometheus
        return made

    monkeypatch.setattr("gitops.commands.holds.Cluster", found)


@pytest.fixture
def clone(fork: Path, origin: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Staging ran version 1, and version 2 since 7 minutes before the alerts. Alerts count for 15 minutes."""
    ask(fork, "watch: {minutes: 15}")
    released(fork, 1, seen.since - timedelta(minutes=60), monkeypatch)
    released(fork, 2, seen.since - timedelta(minutes=7), monkeypatch)
    return fork


def ask(fork: Path, values: str) -> None:
    file = fork / VALUES
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(f"{values}\n")
    commit_all(fork, "ask for it")
    git(fork, "push", "--quiet")


def released(
    fork: Path, version: int, when: datetime, monkeypatch: pytest.MonkeyPatch, landed: datetime | None = None
) -> None:
    """Pin a version at a time, and push it then, or later."""
    with at(when, monkeypatch):
        pin(fork, release(version))
    with at(landed or when, monkeypatch):
        git(fork, "push", "--quiet")


def watch(where: str, *options: str) -> int:
    return execute(["watch", f"--prometheus-url={where}", *options])


def test_a_release_followed_by_a_critical_alert_is_rolled_back_and_held(
    clone: Path, origin: Path, metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(metrics, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["targets"]
    assert told["target"] == "staging/iris"
    after = pinned(origin)
    assert after.model.version == "1"
    assert after.held == REASON

    # The alert stays active, and the hold stays.
    git(clone, "pull", "--quiet")
    assert watch(metrics) == 0
    assert "No release has problems." in capsys.readouterr().out
    assert pinned(origin) == after


def test_a_release_counts_from_when_the_branch_got_it(
    clone: Path, origin: Path, hub: GitHub, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fast-forward keeps the date of a commit that was made earlier."""
    made = seen.since - timedelta(minutes=30)
    released(clone, 3, made, monkeypatch, landed=seen.since + timedelta(seconds=1))
    assert watch(seen.url) == 0
    assert pinned(origin).model.version == "3"
    released(clone, 4, made, monkeypatch, landed=seen.since - timedelta(minutes=7))
    assert watch(seen.url) == 0
    after = pinned(origin)
    assert (after.model.version, after.held) == ("3", REASON)


@pytest.mark.parametrize("values", ["{}", "watch: {minutes: 0}", "watch: {minutes: 5}"])
def test_alerts_after_the_watched_minutes_are_ignored(clone: Path, origin: Path, metrics: str, values: str) -> None:
    ask(clone, values)
    assert watch(metrics) == 0
    assert pinned(origin).model.version == "2"


def test_an_alert_from_before_the_release_is_ignored(
    clone: Path, origin: Path, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released(clone, 3, datetime.now(UTC) + timedelta(seconds=2), monkeypatch)
    assert watch(metrics) == 0
    assert pinned(origin).model.version == "3"


def test_a_pending_alert_is_ignored_until_it_fires(
    clone: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released(clone, 3, datetime.now(UTC) - timedelta(minutes=1), monkeypatch)
    with prometheus(tmp_path / "it", {"Burning": OURS}, **{"for": "1h"}) as server:
        alerting(server, 1)
        assert watch(server.url) == 0
    assert pinned(origin).model.version == "3"


def test_a_dry_run_and_another_service_change_nothing(
    clone: Path, origin: Path, metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(metrics, "--dry-run") == 0
    assert "Burning began" in "".join(capsys.readouterr())
    assert watch(metrics, "production/iris") == 0
    assert pinned(origin).model.version == "2"


def test_a_first_release_cannot_be_rolled_back(
    fork: Path, origin: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(fork, "watch: {minutes: 15}")
    released(fork, 1, seen.since - timedelta(minutes=7), monkeypatch)
    assert watch(seen.url) == 2
    assert "staging/iris has no earlier pins to restore" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("values", ["watch: {minutes: soon}", "watch: {minutes: -1}"])
def test_invalid_minutes_are_named(clone: Path, metrics: str, values: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(clone, values)
    assert watch(metrics) == 2
    assert "The values of staging/iris under watch" in " ".join(capsys.readouterr().err.split())


def test_all_services_share_a_port_forward(
    clone: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways: list[str] = []

    class Forwarding(MemoryCluster):
        @contextlib.contextmanager
        def forwarded(self, namespace: str, service: str, port: int) -> Iterator[str]:
            ways.append(f"{namespace}/{service}:{port}")
            yield seen.url

    use(monkeypatch, Forwarding())
    for part in ("release.yaml", "values.yaml"):
        shutil.copy(clone / f"envs/staging/iris/{part}", clone / f"envs/production/iris/{part}")
    commit_all(clone, "promote(production/iris)")
    git(clone, "push", "--quiet")
    assert execute(["watch", "--dry-run"]) == 0
    assert ways == ["monitoring/monitoring-kube-prometheus-prometheus:9090"]
    assert "staging/iris" in "".join(capsys.readouterr())


def test_a_prometheus_that_does_not_answer_is_an_outage(
    clone: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watch(NOBODY) == 1
    said = capsys.readouterr()
    assert "does not answer" in " ".join(said.err.split())
    assert "has problems" not in said.out
    assert pinned(origin).model.version == "2"


def test_canaries_are_rolled_back_and_an_outage_of_the_cluster_is_reported(
    clone: Path, origin: Path, metrics: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Away())
    assert watch(metrics, "--dry-run") == 0
    assert "Canaries could not be checked" in " ".join(capsys.readouterr().err.split())

    ask(clone, "{}")
    use(monkeypatch, test_canary.cluster(test_canary.ERRORS, wanted=2, stable=1, **test_canary.ABORTED))
    assert watch(metrics) == 0
    assert pinned(origin).held == "canary of iris-classifier 2 aborted: errors 4.1 % against 0.1 %"


@pytest.mark.parametrize(
    "error", [ProgramMissingError("kubectl"), ProgramFailedError(["kubectl", "get"], 1, "rollouts is forbidden")]
)
def test_alerts_are_checked_without_kubectl_or_rights_to_canaries(
    error: Exception, clone: Path, origin: Path, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitLab's job runs in an image without kubectl."""

    class Unseen(MemoryCluster):
        def find(self, kind: str, name: str, namespace: str | None = None) -> Any:
            raise error

    use(monkeypatch, Unseen())
    assert watch(metrics) == 0
    assert pinned(origin).held == REASON


def test_a_waiting_rollback_is_not_proposed_again(
    clone: Path, origin: Path, hub: GitHub, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs every few minutes: another commit each time would dismiss the approval and restart the checks."""
    assert watch(metrics, "--pr") == 0
    (pull,) = hub.opened()
    proposed = git(origin, "rev-parse", pull["head"]["ref"])
    # The alert has another figure minutes later.
    monkeypatch.setattr(watching.Burning, "__str__", lambda _: "Burning began 7 min after the release: 3.9 % fail")
    time.sleep(1.1)
    assert watch(metrics, "--pr") == 0
    assert [pull["head"]["ref"] for pull in hub.opened()] == ["rollback/staging/iris"]
    assert git(origin, "rev-parse", "rollback/staging/iris") == proposed
    assert pinned(origin).model.version == "2"


def test_with_pull_request_bumps_it_opens_a_pull_request(clone: Path, origin: Path, hub: GitHub, metrics: str) -> None:
    """The branch's rules would refuse a push, so nothing would be rolled back."""
    file = clone / PLATFORM
    file.write_text(f"{file.read_text()}bumps: pull-requests\n")
    commit_all(clone, "Bump by pull requests")
    git(clone, "push", "--quiet")
    assert watch(metrics) == 0
    assert [pull["head"]["ref"] for pull in hub.opened()] == ["rollback/staging/iris"]
    assert pinned(origin).model.version == "2"


def test_a_canary_of_a_held_service_is_left_alone(
    clone: Path, origin: Path, metrics: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["hold", "staging/iris", "--reason", "we look at it"]) == 0
    use(monkeypatch, test_canary.cluster(test_canary.ERRORS, wanted=2, stable=1, **test_canary.ABORTED))
    capsys.readouterr()
    assert watch(metrics) == 0
    assert "No release has problems." in capsys.readouterr().out
    assert (pinned(origin).model.version, pinned(origin).held) == ("2", "we look at it")
