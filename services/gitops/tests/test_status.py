"""`gitops status`: from git alone, and with the reports of Argo CD and the API."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gitops.cli import execute
from gitops.cluster.status import look_around
from gitops.git.repository import Repository
from gitops.pins.release import Image, Model, Notes, Release, written
from gitops.pins.wording import age
from services.gitops.tests.conftest import DIGEST, add_service, commit_all, release_file
from services.gitops.tests.memory_cluster import WELL, MemoryCluster

RELEASE = Release(
    release=Notes(chart="1.4.0"),
    image=Image(repository="registry.example.com/acme/serving", tag="1.8.2", digest=DIGEST),
    model=Model(name="iris-classifier", version="7", digest=DIGEST, uri="s3://mlflow/1/models/m-7/artifacts"),
)


@pytest.fixture
def released(fork: Path) -> Path:
    """Staging has a release, production has none."""
    (fork / release_file("staging")).write_text(written(None, RELEASE, "staging"))
    commit_all(fork, "release(staging/iris): iris 7")
    return fork


def live_cluster(version: str, port: str = "metrics") -> MemoryCluster:
    cluster = MemoryCluster()
    metadata = {"name": "iris-staging", "namespace": "argocd"}
    cluster.put("applications", {"metadata": metadata, "status": WELL})
    cluster.put("applications", {"metadata": {"name": "mlflow", "namespace": "argocd"}, "status": WELL})
    labels = {"app.kubernetes.io/instance": "iris", "app.kubernetes.io/component": "server"}
    service = {"name": "iris", "namespace": "ml-pipeline-staging", "labels": labels}
    ports = [{"name": name} for name in dict.fromkeys(["http", port])]
    cluster.put("services", {"metadata": service, "spec": {"ports": ports}})
    served = {"name": "iris-classifier", "version": version, "digest": DIGEST, "problem": ""}
    other = {"name": "wine", "version": "3", "digest": DIGEST, "problem": ""}
    health = {"live": True, "ready": True, "model_version": version, "models": [served, other]}
    cluster.answers[f"ml-pipeline-staging/iris:{port}/health"] = json.dumps(health)
    return cluster


def test_git_alone_shows_pins_time_and_author(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status", "--offline", "--json"]) == 0
    staging, production = json.loads(capsys.readouterr().out)["services"]
    assert staging["release"]["model"]["version"] == "7"
    assert staging["release"]["image"]["digest"] == DIGEST
    assert staging["changed"]["subject"] == "release(staging/iris): iris 7"
    assert staging["changed"]["author"] == "Ada"
    assert staging["changed"]["uncommitted"] is False
    assert production == {
        "environment": "production",
        "service": "iris",
        "application": "iris-production",
        "release": None,
        "hold": None,
        "changed": None,
        "problem": "",
        "live": None,
        "shadow": None,
        "card": None,
    }
    assert staging["card"] is None

    assert execute(["status", "--offline"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1.4.0" in shown
    assert "1.8.2" in shown
    assert "iris-classifier 7" in shown
    assert "not released" in shown


def test_the_card_is_linked_if_mlflows_address_is_known(
    released: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example.com/ml/")
    card = "https://mlflow.example.com/ml/#/models/iris-classifier/versions/7"
    assert execute(["status", "--offline", "--json"]) == 0
    assert [entry["card"] for entry in json.loads(capsys.readouterr().out)["services"]] == [card, None]
    assert execute(["status", "--offline"]) == 0
    assert f"Model card of staging/iris: {card}\n" in capsys.readouterr().out
    # A folder or a database has no page.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert execute(["status", "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["services"][0]["card"] is None


def test_without_the_cluster_the_status_shows_git_alone(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["status"]) == 0
    captured = capsys.readouterr()
    assert "iris-classifier 7" in captured.out
    assert "From git alone" in captured.err


def test_holds_edits_and_ages_are_shown(released: Path) -> None:
    file = released / release_file("staging")
    file.write_text(file.read_text().replace("hold: null", 'hold: {reason: "bad answers", by: Ada}'))
    now = datetime.now(UTC) + timedelta(hours=3)
    staging = look_around(Repository(released), None, now).services[0]
    assert staging.hold == "bad answers"
    assert staging.changed
    assert staging.changed.uncommitted
    assert age(staging.changed.age_seconds) == "3 h"


@pytest.mark.parametrize(("version", "as_pinned"), [("7", True), ("6", False)])
def test_the_answering_model_is_compared_with_the_pins(released: Path, version: str, as_pinned: bool) -> None:
    found = look_around(Repository(released), live_cluster(version))
    live = found.services[0].live
    assert live
    assert (live.sync, live.health, live.as_pinned) == ("Synced", "Healthy", as_pinned)
    assert live.answer
    assert live.answer.version == version
    assert [entry.application for entry in found.platform] == ["mlflow"]
    assert found.services[1].live is None


def test_a_chart_before_0_2_is_queried_at_its_only_port(released: Path) -> None:
    live = look_around(Repository(released), live_cluster("7", port="http")).services[0].live
    assert live
    assert (live.problem, live.as_pinned) == ("", True)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (
            [
                {"type": "ComparisonError", "message": "failed to load target state:\n chart is not there"},
                {"type": "UnknownError", "message": "of nobody's"},
                {"type": "OrphanedResourceWarning", "message": "one more"},
            ],
            "ComparisonError: failed to load target state: chart is not there; UnknownError: of nobody's",
        ),
        ([{"type": "SharedResourceWarning", "message": "is of two"}], "SharedResourceWarning: is of two"),
        (None, "Argo CD has not compared it with git, and gives no reason"),
    ],
)
def test_the_reason_of_an_unknown_status_is_shown(
    released: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    conditions: list[dict[str, str]] | None,
    said: str,
) -> None:
    cluster = live_cluster("7")
    status = {**WELL, "sync": {"status": "Unknown"}, "conditions": conditions}
    cluster.put("applications", {"metadata": {"name": "iris-staging", "namespace": "argocd"}, "status": status})
    monkeypatch.setattr("gitops.commands.looking.Cluster", lambda *_, **__: cluster)
    assert execute(["status"]) == 0
    # The table wraps its cells, so the sentence is below it.
    assert f"staging/iris: {said}\n" in capsys.readouterr().out


def test_an_api_that_does_not_answer_is_reported(released: Path) -> None:
    cluster = live_cluster("7")
    for answer in ("<html>", '{"models": []}', '{"models": [{"name": "iris", "version": null, "digest": null}]}'):
        cluster.answers["ml-pipeline-staging/iris:metrics/health"] = answer
        live = look_around(Repository(released), cluster).services[0].live
        assert live
        assert "gives an unexpected answer" in live.problem
    cluster.answers.clear()
    live = look_around(Repository(released), cluster).services[0].live
    assert live
    assert "no endpoints" in live.problem


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d"), (-5, "0 s")]
)
def test_an_age_is_shown_in_its_largest_unit(seconds: int, words: str) -> None:
    assert age(seconds) == words


def test_outside_a_repository_the_error_names_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert execute(["status"]) == 2
    assert "is not in a git repository" in capsys.readouterr().err


def test_an_invalid_file_is_reported_in_its_row(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_service(released, "wine", "wine-classifier")
    file = released / release_file("staging", "wine")
    file.parent.mkdir()
    file.write_text("release: [\n")
    found = look_around(Repository(released), live_cluster("7"))
    rows = {(entry.environment, entry.service): entry for entry in found.services}
    assert "is not valid YAML" in rows["staging", "wine"].problem
    live = rows["staging", "iris"].live
    assert live
    assert live.as_pinned
    assert execute(["status", "--offline"]) == 0
    assert "cannot be read" in capsys.readouterr().out


def test_without_services_the_status_says_how_to_add_one(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (fork / "platform.yaml").read_text().partition("services:")[0]
    (fork / "platform.yaml").write_text(f"{text}services: []\n")
    assert execute(["status", "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["services"] == []
    assert execute(["status", "--offline"]) == 0
    assert "gitops new service NAME --model MODEL" in capsys.readouterr().out


def test_the_table_fits_a_hundred_columns(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_service(released, "a-service-with-a-long-name", "a-registered-model-with-a-long-name")
    file = released / release_file("staging", "a-service-with-a-long-name")
    file.parent.mkdir()
    long = msgspec.structs.replace(RELEASE, release=Notes(chart="12.34.56", hold="a reason that goes on and on " * 5))
    file.write_text(written(None, long, "file"))
    assert execute(["status", "--offline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any("production" in line and "not released" in line for line in lines)
