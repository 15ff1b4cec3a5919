"""Canaries: what `gitops status` shows, and how an aborted one becomes pins and a hold in git."""

import json
from pathlib import Path
from typing import Any

import pytest

from gitops.cli import execute
from gitops.cluster.canary import canary_of, figures
from gitops.errors import NotWantedError
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.pins.history import steps
from gitops.pins.release import Image, Model, Notes, Release, read_release, written
from gitops.promotion.arrival import Arrivals
from gitops.promotion.readiness import readiness
from services.gitops.tests.conftest import DIGEST, commit_all, git, release_file, target
from services.gitops.tests.memory_cluster import WELL, MemoryCluster

STAGING = release_file("staging")
SPACE = "ml-pipeline-staging"
STABLE, CANARY = "5d5f8c6b7d", "7c9d4b8f66"
OWNER = [{"kind": "Rollout", "name": "iris"}]


def release(version: int, chart: str = "0.2.0") -> Release:
    uri = f"s3://mlflow/1/models/m-{version}/artifacts"
    return Release(
        release=Notes(chart=chart, metrics={"accuracy": 0.9 + version / 100}),
        image=Image(repository="registry.example.com/acme/serving", tag="1.8.2", digest=DIGEST),
        model=Model(name="iris-classifier", version=str(version), digest=DIGEST, uri=uri),
    )


@pytest.fixture
def clone(fork: Path, origin: Path) -> Path:
    """Staging ran versions 1, 2 and 3, one after the other."""
    for version in (1, 2, 3):
        pin(fork, release(version))
    git(fork, "push", "--quiet")
    return fork


def pin(fork: Path, wanted: Release) -> None:
    file = fork / STAGING
    file.write_text(written(file.read_text() if file.exists() else None, wanted, "file"))
    commit_all(fork, f"bump(staging/iris): iris {wanted.model.version}")


def pinned(folder: Path) -> Release:
    return read_release(git(folder, "show", f"main:{STAGING}"), "file")


def workload(kind: str, name: str, version: int, **more: Any) -> dict[str, Any]:
    env = [{"name": "MODEL_VERSION", "value": str(version)}, {"name": "MODEL_DIGEST", "value": DIGEST}]
    container = {"name": "serving", "image": f"registry.example.com/acme/serving:1.8.2@{DIGEST}", "env": env}
    metadata = {"name": name, "namespace": SPACE, **more.pop("metadata", {})}
    spec = {"template": {"spec": {"containers": [container]}}, **more.pop("spec", {})}
    return {"kind": kind, "metadata": metadata, "spec": spec, **more}


def measured(name: str, value: str, phase: str = "Failed") -> dict[str, Any]:
    good = {"phase": "Successful", "value": "[0,0]"}
    return {"name": name, "phase": phase, "measurements": [good, {"phase": phase, "value": value}]}


def cluster(*metrics: dict[str, Any], stable: int = 2, wanted: int = 3, **status: Any) -> MemoryCluster:
    """A cluster in which version `wanted` is replacing version `stable`, with the results of its analysis."""
    made = MemoryCluster()
    steps = [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}]
    hashes = {"stableRS": STABLE, "currentPodHash": CANARY}
    made.put(
        "rollouts",
        workload(
            "Rollout", "iris", wanted,
            spec={"strategy": {"canary": {"steps": steps}}},
            status={"phase": "Progressing", "currentStepIndex": 1, **hashes, **status},
        ),
    )  # fmt: skip
    labels = {"rollouts-pod-template-hash": STABLE}
    made.put(
        "replicasets",
        workload("ReplicaSet", f"iris-{STABLE}", stable, metadata={"labels": labels, "ownerReferences": OWNER}),
    )
    run = {"name": f"iris-{CANARY}-2-2", "namespace": SPACE, "labels": {"rollouts-pod-template-hash": CANARY}}
    made.put("analysisruns", {"metadata": run, "status": {"phase": "Failed", "metricResults": list(metrics)}})
    made.put("applications", {"metadata": {"name": "iris-staging", "namespace": "argocd"}, "status": WELL})
    return made


ERRORS = measured("errors", "[0.041,0.001]")
ABORTED: dict[str, Any] = {
    "abort": True,
    "phase": "Degraded",
    "message": "RolloutAborted: Rollout aborted update to revision 3",
}


def use(monkeypatch: pytest.MonkeyPatch, made: MemoryCluster) -> None:
    for module in ("holds", "looking"):
        monkeypatch.setattr(f"gitops.commands.{module}.Cluster", lambda *_, **__: made)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (ERRORS, "errors 4.1 % against 0.1 %"),
        (measured("latency", "[0.2104,0.0213]"), "latency 210 ms against 21.3 ms"),
        (measured("answers", "[1.3168]"), "another mix of answers, PSI 1.32"),
        (measured("pods", "[2]"), "2 pods restarted or not ready"),
        (measured("smoke", ""), "the smoke test failed"),
        (measured("answers", "[]", "Inconclusive"), "answers: too few requests to decide"),
        (measured("own", "[3]"), "own 3"),
        (
            {"name": "errors", "phase": "Running", "consecutiveError": 2, "measurements": [{"message": "refused"}]},
            "waits, because Prometheus gives no answer: refused",
        ),
    ],
)
def test_the_figures_are_those_of_the_analysis(result: dict[str, Any], said: str) -> None:
    assert list(figures([{"status": {"metricResults": [measured("fine", "[1]", "Successful"), result]}}])) == [said]


@pytest.mark.parametrize(
    ("status", "metrics", "said"),
    [
        (ABORTED, [ERRORS], "aborted: errors 4.1 % against 0.1 %"),
        (ABORTED, [], f"aborted: {ABORTED['message']}"),
        ({"message": "more replicas need to be updated"}, [], "canary under way at 20 %"),
        ({"currentStepIndex": 3}, [], "canary under way at 50 %"),
        (
            {"phase": "Paused", "message": "InconclusiveAnalysisRun"},
            [measured("errors", "[]", "Inconclusive")],
            "canary paused at 20 %: errors: too few requests to decide",
        ),
        ({"phase": "Healthy", "currentStepIndex": 4}, [], ""),
    ],
)
def test_status_shows_the_state_of_a_canary(
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: dict[str, Any],
    metrics: list[dict[str, Any]],
    said: str,
) -> None:
    made = cluster(*metrics, **status)
    assert str(canary_of(made, target("staging"))) == said
    use(monkeypatch, made)
    assert execute(["status"]) == 0
    shown = capsys.readouterr().out
    assert (f"staging/iris: {said}" if said else "iris") in shown
    assert said or "staging/iris:" not in shown


def test_a_service_without_a_rollout_has_no_canary() -> None:
    assert canary_of(MemoryCluster(), target("staging")) is None


def test_an_aborted_canary_is_rolled_back_to_stable_and_held_with_the_figures(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, cluster(ERRORS, **ABORTED))
    assert execute(["rollback", "--aborted", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["targets"]
    assert told["target"] == "staging/iris"
    after = pinned(origin)
    assert after.model.version == "2"
    assert after.held == "canary of iris-classifier 3 aborted: errors 4.1 % against 0.1 %"

    # A second run may come before Argo CD has applied the commit, while the cluster still reports "aborted".
    assert execute(["rollback", "--aborted"]) == 0
    assert "git pins something else now" in " ".join(capsys.readouterr().err.split())
    assert pinned(origin) == after

    # The hold prevents every change of the pins until a person removes it.
    assert execute(["bump", "staging/iris", f"--image=1.8.3@{DIGEST}"]) == 3
    assert "errors 4.1 % against 0.1 %" in " ".join("".join(capsys.readouterr()).split())
    assert pinned(origin) == after


def test_a_rollback_skips_pins_that_were_never_stable(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 3 was pinned while version 2 was still a canary, so version 1 is stable."""
    use(monkeypatch, cluster(ERRORS, stable=1, **ABORTED))
    assert execute(["rollback", "staging/iris", "--aborted"]) == 0
    assert pinned(origin).model.version == "1"


def test_newer_pins_are_not_rolled_back_for_an_earlier_canary(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, cluster(ERRORS, wanted=2, stable=1, **ABORTED))
    assert execute(["rollback", "--aborted"]) == 0
    assert pinned(origin).model.version == "3"


def test_a_canary_of_other_values_only_is_not_rolled_back(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, cluster(ERRORS, stable=3, **ABORTED))
    assert execute(["rollback", "--aborted"]) == 2
    assert "values.yaml" in "".join(capsys.readouterr())
    assert pinned(origin).held is None


def test_a_canary_of_another_chart_is_rolled_back_to_the_earlier_chart(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(clone, release(3, chart="0.3.0"))
    git(clone, "push", "--quiet")
    use(monkeypatch, cluster(ERRORS, stable=3, **ABORTED))
    assert execute(["rollback", "--aborted"]) == 0
    assert (pinned(origin).model.version, pinned(origin).release.chart) == ("3", "0.2.0")


@pytest.mark.parametrize("status", [{}, {"phase": "Paused"}, {"phase": "Healthy"}])
def test_canaries_that_are_not_aborted_are_left_alone(
    clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: Any
) -> None:
    use(monkeypatch, cluster(**status))
    assert execute(["rollback", "--aborted"]) == 0
    assert "No canary is aborted." in capsys.readouterr().out
    assert pinned(origin).model.version == "3"


@pytest.mark.parametrize("options", [["--aborted", "--to=HEAD~1"], ["--aborted", "--reason=because"], []])
def test_options_that_exclude_one_another_are_named(
    clone: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["rollback", *options]) == 2
    assert "--aborted" in "".join(capsys.readouterr())


@pytest.mark.parametrize("status", [ABORTED, {}, {"phase": "Paused"}])
def test_a_running_canary_is_not_promoted(clone: Path, status: dict[str, Any]) -> None:
    repository, place = Repository.find(), target("staging")
    found = steps(repository, place, "HEAD")
    with pytest.raises(NotWantedError, match=r"canary (under way|paused)|aborted"):
        readiness(repository, cluster(**status), place, found, 0, Arrivals(Snapshot(repository, "HEAD"), None))


def test_check_reports_a_canary_without_argo_rollouts(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = fork / "envs/staging/values.yaml"
    values.write_text(f"{values.read_text()}rollout: {{strategy: canary}}\n")
    assert execute(["check", "--json"]) == 0
    (note,) = (note for note in json.loads(capsys.readouterr().out)["notes"] if "rollouts: true" in note)
    assert note.startswith("staging/iris has rollout.strategy canary, but nothing here installs Argo Rollouts")
    platform = fork / "platform.yaml"
    platform.write_text(f"{platform.read_text()}rollouts: true\n")
    assert execute(["check", "--json"]) == 0
    assert "rollouts: true" not in capsys.readouterr().out
